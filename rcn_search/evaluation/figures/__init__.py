"""Figures of predictions, models and runs, written as PNG, SVG or PDF."""

import logging

# Matplotlib says in two long lines that it has no home folder to write to, and works without one.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
