"""Networks of timm learn with each head, and come back from their checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rcn_search.config.schema import TimmConfig, TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.inference.predictor import load
from rcn_search.training.trainer import Trainer

LOSSES = {"heatmap": {"name": "nll", "target_sigma_px": 1.5}, "simcc": {"name": "nll"}, "coordinates": {"name": "wing"}}


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("head", LOSSES)
def test_timm_network_with_each_head_learns_and_is_loaded(head: str, tiny_config: TrainConfig, tmp_path: Path) -> None:
    model = TimmConfig.model_validate({"backbone": "mobilenetv3_small_050", "head": head, "deconv_channels": 16})
    document = tiny_config.model_dump() | {"model": model, "loss": LOSSES[head]}
    document["data"] |= {"num_train": 40}
    document["schedule"] |= {"epochs": 6, "batch_size": 8, "ema_decay": 0.0}
    trainer = Trainer(TrainConfig.model_validate(document), str(tmp_path / "run"))
    trainer.train()
    first, *_, last = trainer.history
    assert last.loss < 0.95 * first.loss
    predictor = load(str(tmp_path / "run"))
    crops = open_dataset(tiny_config.data.uri).split("val").images_at([0, 1])
    faces = predictor.predict(np.asarray(crops[0]).squeeze(), detector="none")
    assert faces.points.shape == (1, 5, 2)
    assert np.isfinite(faces.points).all()
