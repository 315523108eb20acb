"""Rank ranges, means over seeds, and the cache of both."""
