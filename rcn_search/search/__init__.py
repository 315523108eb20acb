"""Searches: Ray Tune runs the trials of a study."""
