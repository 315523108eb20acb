"""Floor 2: training runs."""
