"""The board: our entries beside published rows, ranked only within one protocol."""
