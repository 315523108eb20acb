from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.evaluation.figures import branches as figures_branches
from rcn_search.evaluation.figures.branches import (
    BranchMaps,
    SelectedFaces,
    compute_branch_maps,
    draw_branches,
    overlay_maps,
    select_faces,
    select_points,
)
from rcn_search.keypoints import FIVE, IBUG68
from rcn_search.models import build_model
from rcn_search.training.checkpoint import CheckpointInfo, network_tensors
from tests.support.checkpoints import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., str]:
    """Writes an untrained model; the checkpoint's URI."""

    def write(stem: str, keypoints: str = "five", size_px: int = 80, **model: Any) -> str:
        config = TrainConfig.model_validate({"data": {"uri": "x"}, "input": {"size_px": size_px}, "model": model})
        network = build_model(config.model, num_points={"five": 5, "ibug68": 68}[keypoints], input_px=size_px)
        info = CheckpointInfo(
            kind="weights",
            config=config,
            keypoints=keypoints,
            data_fingerprint="f",
            epoch=1,
            val_error_pct=None,
            train_s=0.0,
        )
        uri = str(tmp_path / f"{stem}.safetensors")
        write_checkpoint(uri, info, network_tensors(network))
        return uri

    return write


@pytest.fixture
def faces(synthetic_uri: str) -> SelectedFaces:
    return select_faces(synthetic_uri, "val", [3, 11])


def test_branch_maps_are_probabilities_by_resolution(checkpoint: Callable[..., str], faces: SelectedFaces) -> None:
    small = {"branches": 3, "channels": 4}
    rcn, sumnet, masked = compute_branch_maps(
        [
            checkpoint("rcn", name="rcn", **small),
            checkpoint("sumnet", name="sumnet", **small),
            checkpoint("masked", name="rcn", mask="101", **small),
        ],
        faces,
    )
    assert [model.label for model in (rcn, sumnet, masked)] == ["RCN", "SumNet", "RCN model.mask=101"]
    assert [side for side, _ in rcn.maps] == [side for side, _ in sumnet.maps] == [20, 40, 80]
    assert [side for side, _ in masked.maps] == [20, 80]
    for model in (rcn, sumnet, masked):
        for map_fkhw in [*(map_fkhw for _, map_fkhw in model.maps), model.whole_fkhw]:
            assert map_fkhw.shape == (2, 5, 80, 80)
            np.testing.assert_allclose(map_fkhw.sum(axis=(2, 3)), 1)
    np.testing.assert_allclose(rcn.maps[-1][1], rcn.whole_fkhw, rtol=1e-4)
    # The branches of SumNet add up: their probabilities multiply.
    product = np.prod([map_fkhw for _, map_fkhw in sumnet.maps], axis=0)
    np.testing.assert_allclose(product / product.sum(axis=(2, 3), keepdims=True), sumnet.whole_fkhw, rtol=1e-3)


def test_branch_maps_reject_models_without_branches(checkpoint: Callable[..., str], faces: SelectedFaces) -> None:
    with pytest.raises(ValueError, match=r"a\.safetensors is a tcdcn, which has no branches; name an RCN or a SumNet"):
        compute_branch_maps([checkpoint("a", name="tcdcn", size_px=40)], faces)
    with pytest.raises(ValueError, match=r"b\.safetensors predicts 'ibug68' points, .* has 'five' points"):
        compute_branch_maps([checkpoint("b", keypoints="ibug68", name="rcn", branches=1, channels=4)], faces)


def test_select_faces_takes_the_given_rows(synthetic_uri: str, faces: SelectedFaces) -> None:
    split = open_dataset(synthetic_uri).split("val")
    assert torch.equal(faces.image, split.images_at(torch.tensor([3, 11])))
    assert torch.equal(faces.points_fk2, split.points_nk2[[3, 11]])
    assert select_faces(synthetic_uri, "val", ()).rows == [0, 11, 23]
    for row in (-1, 24):
        with pytest.raises(ValueError, match=f"split 'val' has no row {row}; it has rows 0 to 23"):
            select_faces(synthetic_uri, "val", [row])


def test_select_points_takes_the_given_names() -> None:
    assert select_points(FIVE, ["nose", "left_eye"]) == [2, 0]
    assert select_points(FIVE, ()) == [0, 1, 2, 3, 4]
    assert select_points(IBUG68, ()) == [36, 45, 30, 48, 54]
    with pytest.raises(ValueError, match="'five' has no point 'chin'; it has left_eye, "):
        select_points(FIVE, ["chin"])
    with pytest.raises(ValueError, match="6 points are too many for distinct colors; name at most 5"):
        select_points(FIVE, ["nose"] * 6)


def test_overlay_is_more_opaque_where_maps_are_larger() -> None:
    window = np.full((8, 8, 3), 0.5)
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 1], maps[0, 3, 3] = 0.8, 0.2  # a quarter as likely: half as opaque
    maps[1, 0, 1] = 1.0
    colors = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    shown = overlay_maps(window, maps[:1], colors[:1])
    np.testing.assert_allclose(shown[:2, 2:4], np.broadcast_to([0.85 + 0.15 * 0.25, 0.0375, 0.0375], (2, 2, 3)))
    np.testing.assert_allclose(shown[7, 7], [0.425 + 0.575 * 0.25, 0.14375, 0.14375])
    np.testing.assert_allclose(shown[4, 4], 0.25)
    both = overlay_maps(window, maps, colors)
    np.testing.assert_allclose(both, overlay_maps(window, maps[::-1], colors[::-1]))
    assert both[0, 2, 0] == both[0, 2, 2] > 0.4  # one over the other: half of each color


@pytest.mark.parametrize("shape", [(160, 160), (160, 160, 3)])
def test_draw_branches_puts_each_map_into_its_panel(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = torch.zeros((2, *shape), dtype=torch.uint8)
    image[:, 40:120, 40:120] = 200  # the network's window, exactly
    faces = SelectedFaces(
        image=image,
        points_fk2=torch.tensor([[[60.0, 80.0]] * 5] * 2),
        face_box_f4=torch.tensor([[40.0, 40, 80, 80]] * 2),
        rows=[7, 9],
        schema=FIVE,
        uri="x",
    )

    def lit(cell: int) -> np.ndarray:
        maps = np.zeros((2, 5, 80, 80))
        maps[0, :, cell, cell] = maps[1, :, cell + 10, cell] = 1.0
        return maps

    models = [
        BranchMaps(label="SumNet", maps=[(20, lit(1)), (80, lit(3))], whole_fkhw=lit(4)),
        BranchMaps(label="RCN", maps=[(40, lit(2)), (80, lit(3))], whole_fkhw=lit(4)),
    ]
    draw_branches(faces, models, [2], str(tmp_path / "a.png"))
    assert Image.open(tmp_path / "a.png").format == "PNG"
    figures: list[Any] = []
    monkeypatch.setattr(figures_branches, "save_figure", lambda figure, uri: figures.append(figure))
    draw_branches(faces, models, [2], "nowhere")
    seen: dict[tuple[float, float], int] = {}
    for axes in figures[0].axes:
        shown = axes.images[0].get_array()
        assert shown.shape == (160, 160, 3)
        (ring,) = axes.lines
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.25, 0.5)
        orange = np.argwhere((shown[:, :, 0] > 0.8) & (shown[:, :, 2] < 0.3))
        seen[round(-axes.get_position().y0, 3), round(axes.get_position().x0, 3)] = (
            int(orange[0, 0]) // 2 if len(orange) else 0
        )
        if not len(orange):
            np.testing.assert_allclose(shown[6:-6, 6:-6], 200 / 255)
    cells = [cell for _, cell in sorted(seen.items())]  # SumNet's row, then RCN's, of each face
    assert cells == [0, 1, 3, 4, 0, 2, 3, 4, 0, 11, 13, 14, 0, 12, 13, 14]
    texts = [text.get_text() for text in figures[0].texts]
    for text in ("20×20", "40×40", "80×80", "all branches", "SumNet\nface 7", "RCN\nface 9"):
        assert text in texts
