"""Figures of predictions, training curves and network branches."""
