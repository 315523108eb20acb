"""Data sets: importers, Arrow shards, and batches on the device."""
