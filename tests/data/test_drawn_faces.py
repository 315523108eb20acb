from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search.config.drawing import DrawingConfig
from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.data.drawn_faces import training_faces
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.shards import DatasetError, read_manifest
from rcn_search.data.synthetic import accessories, draw_face
from rcn_search.data.synthetic.degradation import photograph
from rcn_search.data.synthetic.noise import texture, to_image
from rcn_search.keypoints import FIVE, IBUG68
from rcn_search.training.trainer import Trainer
from tests.conftest import CommandLine


def drawn(config: TrainConfig, **ranges: Any) -> TrainConfig:
    document = config.model_dump()
    document["data"]["drawn"] = {"num_faces": 6, **ranges}
    return TrainConfig.model_validate(document)


def test_training_faces_are_drawn_once_in_the_ranges_of_the_run(
    tiny_config: TrainConfig, synthetic_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path))
    dataset = open_dataset(synthetic_uri)
    assert training_faces(tiny_config, dataset) == (dataset, "train")
    config = drawn(tiny_config, yaw_deg=5, seed=3)
    faces, split = training_faces(config, dataset)
    assert faces.manifest.num_rows(split) == 6
    assert set(faces.split(split).attributes["pose"].tolist()) == {2}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    again, _ = training_faces(config, dataset)
    assert again.manifest.fingerprint == faces.manifest.fingerprint
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")} == before


def test_trainer_trains_on_drawn_faces_and_validates_on_the_data_set(
    tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "cache"))
    config = drawn(tiny_config, num_faces=40)
    assert config.run_id != tiny_config.run_id
    trainer = Trainer(config, str(tmp_path / "run"))
    assert trainer.steps_per_epoch == 2  # of 40 faces, not the three of the 96 of the data set
    trainer.train(lambda report: None)
    assert trainer.history[-1].val_error_pct is not None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"input": {"color": True}}, "faces are drawn gray and in crops of 160 px"),
        ({"data": {"balance_by": "hat"}}, "drawn faces have no attribute 'hat'"),
    ],
)
def test_training_faces_that_do_not_fit_are_refused(
    tiny_config: TrainConfig, synthetic_uri: str, section: dict[str, Any], message: str
) -> None:
    document = drawn(tiny_config).model_dump()
    for name, keys in section.items():
        document[name] |= keys
    with pytest.raises(DatasetError, match=message):
        training_faces(TrainConfig.model_validate(document), open_dataset(synthetic_uri))


def test_generate_writes_its_ranges_into_the_manifest(cli: CommandLine, tmp_path: Path) -> None:
    counts = ("--train", 2, "--val", 1, "--test", 1)
    cli.run("data", "generate", tmp_path / "d", *counts, "--set", "occluders=0", "--set", "light=1.5")
    manifest = read_manifest(str(tmp_path / "d"))
    assert manifest.source == "drawn by rcn-search (generator 2), light 1.5, occluders 0.0"
    assert "skin" in manifest.attributes
    assert "unknown key 'occluder'" in cli.fail("data", "generate", tmp_path / "e", "--set", "occluder=0")


def test_importer_fingerprint_depends_on_the_ranges() -> None:
    importers = [
        SyntheticImporter(num_train=1, num_val=1, num_test=1, ranges=ranges)
        for ranges in (DrawingConfig(), DrawingConfig(), DrawingConfig(blur=0.5))
    ]
    first, same, other = (importer.fingerprint(importer.read_rows()) for importer in importers)
    assert first == same != other


def test_draw_face_contour_on_the_surface_moves_contour_points_alone() -> None:
    turned = DrawingConfig(yaw_deg=60, contour="surface")
    moved = [draw_face(seed, IBUG68).points != draw_face(seed, IBUG68, turned).points for seed in range(8)]
    assert any(each[:17].any() for each in moved)
    inner = [
        np.ptp(draw_face(seed, IBUG68, turned).points[17:], axis=0)
        / np.ptp(draw_face(seed, IBUG68).points[17:], axis=0)
        for seed in range(4)
    ]
    np.testing.assert_allclose([each[0] for each in inner], [each[1] for each in inner], rtol=1e-4)  # scaled alike


def test_occlude_share_of_zero_hides_nothing() -> None:
    points_px = draw_face(1, IBUG68).points
    for seed in range(12):
        canvas = to_image(texture("cloud", (200, 200), np.random.default_rng(0)))
        assert not np.asarray(accessories.occlude(canvas, points_px, 50.0, 0.5, np.random.default_rng(seed), 0.0)).any()


def test_photograph_without_blur_keeps_edges() -> None:
    stripes = np.tile(np.repeat(np.array([0.1, 0.9]), 5), (200, 20))
    sharp, usual = (
        np.mean(
            [
                np.abs(np.diff(photograph(to_image(stripes), np.random.default_rng(s), ranges).astype(int))).mean()
                for s in range(12)
            ]
        )
        for ranges in (DrawingConfig(blur=0), DrawingConfig())
    )
    assert sharp > 1.1 * usual


def test_draw_face_of_no_turn_and_no_jitter_is_frontal_and_centered() -> None:
    still = DrawingConfig(yaw_deg=0, pitch_deg=0, roll_deg=0, crop_jitter=0)
    faces = [draw_face(seed, FIVE, still) for seed in range(6)]
    assert {face.attributes["pose"] for face in faces} == {2}
    assert np.ptp([face.points[:2].mean(axis=0)[0] for face in faces]) < 8
    assert {face.skin for face in (draw_face(seed, FIVE) for seed in range(30))} == {0, 1, 2}
