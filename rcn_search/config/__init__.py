"""Every option of a training run, and the YAML files that set them."""
