"""Figures of predictions, models and runs, written as PNG, SVG or PDF."""
