"""Ranges of ranks, means over seeds, and the cache of ranks."""
