from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.inference import detectors
from rcn_search.inference.detectors import detector_names, make_detector
from rcn_search.inference.detectors.dlib_hog import DlibDetector
from rcn_search.inference.detectors.lbp_cascade import LbpDetector


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these packages and the modules that need them were not installed."""
    modules = {"dlib": "dlib_hog", "skimage": "lbp_cascade"}
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"rcn_search.inference.detectors.{modules[package]}")


def test_make_detector_auto_prefers_dlib_then_skimage_then_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(make_detector(), DlibDetector)
    without(monkeypatch, "dlib")
    assert make_detector().name == LbpDetector.name
    with pytest.raises(RcnSearchError, match=r"'dlib' cannot be imported .*pip install 'rcn-search\[predict\]'"):
        make_detector("dlib")
    without(monkeypatch, "skimage")
    with pytest.raises(RcnSearchError, match=r"no face detector is installed: pip install"):
        make_detector()


def test_make_detector_takes_those_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    added = EntryPoint("mine", "tests.support.photographs:FixedDetector", detectors.ENTRY_POINT_GROUP)

    def entry_points(*, group: str, **selection: str) -> EntryPoints:
        return EntryPoints([added]).select(group=group, **selection)

    monkeypatch.setattr(detectors, "entry_points", entry_points)
    assert detector_names() == ["dlib", "mine", "skimage"]
    assert make_detector("mine").name == "fixed"


def test_make_detector_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RcnSearchError, match="no detector 'yolo'; there are dlib, skimage"):
        make_detector("yolo")
