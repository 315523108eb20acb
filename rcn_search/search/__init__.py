"""Floor 5: studies, and Ray Tune over them."""
