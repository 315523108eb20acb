"""One small network, exported once to each format, since tracing takes seconds."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.inference.export.export import Export, export_network
from rcn_search.inference.predictor import Predictor, load
from tests.support.checkpoints import write_untrained


class Exported(NamedTuple):
    """An exported network and the one that it was exported from."""

    predictor: Predictor
    checkpoint: str
    export: Export
    uri: str


@pytest.fixture(scope="session")
def small_checkpoint(synthetic_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained RCN of three branches."""
    config = TrainConfig.model_validate(
        {"data": {"uri": synthetic_uri}, "model": {"name": "rcn", "branches": 3, "channels": 8}}
    )
    return write_untrained(config, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session", params=["onnx", "openvino"])
def exported(
    request: pytest.FixtureRequest, small_checkpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """The network as a file of each format."""
    suffix = {"onnx": ".onnx", "openvino": ".xml"}[request.param]
    uri = str(tmp_path_factory.mktemp("exported") / f"network{suffix}")
    predictor = load(small_checkpoint)
    export = export_network(predictor, small_checkpoint, uri, target=request.param, license="Apache-2.0")
    return Exported(predictor, small_checkpoint, export, uri)
