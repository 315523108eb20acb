"""rcn-search: distributed hyper-parameter search and evaluation for facial keypoint localisation."""

from importlib.metadata import version

__version__ = version("rcn-search")
