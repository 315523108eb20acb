"""Checks of this machine, of storage and of a Ray cluster before a search starts. They change nothing."""
