"""Searches replayed over the learning curves of recorded studies, without training."""
