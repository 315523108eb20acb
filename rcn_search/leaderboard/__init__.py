"""The leaderboard: our entries beside published rows, ranked only within one protocol."""
