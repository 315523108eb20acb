"""Replays of searches on recorded studies, without training."""
