"""A study: its search space, samplers, pruners, records and lease."""
