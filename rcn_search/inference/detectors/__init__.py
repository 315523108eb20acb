"""Face detectors by name. Another package adds one through the entry point group ``rcn_search.detectors``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from rcn_search.errors import RcnSearchError
from rcn_search.inference.detectors.detector import Detector

ENTRY_POINT_GROUP = "rcn_search.detectors"
AUTO, NO_DETECTOR = "auto", "none"

# In the order of preference.
_BUILT_IN = {
    "dlib": ("rcn_search.inference.detectors.dlib_hog", "DlibDetector"),
    "skimage": ("rcn_search.inference.detectors.lbp_cascade", "LbpDetector"),
}


def detector_names() -> list[str]:
    """List the detectors that can be asked for by name, those of other packages included."""
    return sorted({*_BUILT_IN, *entry_points(group=ENTRY_POINT_GROUP).names})


def make_detector(name: str = AUTO) -> Detector:
    """Create a detector; ``auto`` is the first one whose package is installed: dlib, then skimage.

    Raises:
        RcnSearchError: There is no detector of that name, or its package is not installed.
    """
    if name == AUTO:
        for candidate in _BUILT_IN:
            try:
                return _make_built_in(candidate)
            except ImportError:
                continue
        raise RcnSearchError(
            "no face detector is installed: pip install 'rcn-search[predict]', or give the boxes of the faces"
        )
    if name in _BUILT_IN:
        try:
            return _make_built_in(name)
        except ImportError as error:
            raise RcnSearchError(
                f"the detector {name!r} cannot be imported ({error}): pip install 'rcn-search[predict]'"
            ) from error
    for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        detector: Detector = entry_point.load()()
        return detector
    raise RcnSearchError(f"there is no detector {name!r}; there are {', '.join(detector_names())}")


def _make_built_in(name: str) -> Detector:
    module, attribute = _BUILT_IN[name]
    detector: Detector = getattr(import_module(module), attribute)()
    return detector
