"""A page with a small network, calibrated by hand, so that circles are drawn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.inference.demo.server import Demo, make_handler
from rcn_search.inference.detectors import AUTO, make_detector
from rcn_search.inference.predictor import Predictor
from rcn_search.local_server import serve_locally
from rcn_search.models import build_model
from rcn_search.training.radius_table import PointRadii, RadiusTable
from tests.support.checkpoints import checkpoint_info


@pytest.fixture(scope="module")
def demo() -> Demo:
    """A demo of an untrained network of five points."""
    config = TrainConfig.model_validate({"data": {"uri": "x"}, "model": {"name": "rcn", "branches": 2, "channels": 8}})
    table = RadiusTable(
        made_with={"decoder": "argmax", "tta": "none"},
        data_fingerprint="f",
        split="val",
        num_images=9,
        points=(PointRadii(edges=(), radii=(0.1,)),) * 5,
    )
    network = build_model(config.model, num_points=5, input_px=80, in_channels=1, seed=0).eval()
    predictor = Predictor(network, checkpoint_info(config, radius_tables=(table,)))
    return Demo(predictor, "untrained", make_detector(AUTO), 40)


@pytest.fixture(scope="module")
def address(demo: Demo) -> Iterator[str]:
    """Address of the page."""
    with serve_locally(make_handler(demo)) as served:
        yield served
