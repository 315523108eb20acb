"""Training: runs, losses, optimizers, checkpoints and validation."""
