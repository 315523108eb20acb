"""Floor 1: data sets, from published folders to batches on the device."""
