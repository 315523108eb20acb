"""Predictions of other systems: read, joined with the ground truth of a data set, shown, and added to a leaderboard."""
