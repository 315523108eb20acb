"""Floor 3: predictions and their errors under a protocol."""
