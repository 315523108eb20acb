"""Contribution of each branch of RCN and SumNet: probability maps over a face, coarsest branch first.

A branch of SumNet is shown alone: the softmax of its weighted map, upsampled. A branch of RCN has no maps of its own,
so it is shown with all coarser ones: the softmax of the output of the network with the encoder maps of finer
resolutions set to zero. The last column is the whole network.

Array names end in their axes: f faces, k points, h and w rows and columns of a map, c color channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rcn_search.config.schema import BranchesConfig
from rcn_search.data.augment import face_box_windows, network_inputs, warp_points
from rcn_search.data.dataset import open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures.labels import config_labels
from rcn_search.evaluation.figures.style import INK, save_figure, wrap_text
from rcn_search.keypoints import KeypointSchema
from rcn_search.models.blocks import Network, resolutions_px
from rcn_search.training.checkpoint import CheckpointInfo, load_network

Floats = NDArray[np.float64]

# The bright colors of Okabe and Ito: visible on a darkened face, and distinct for all kinds of color vision.
_COLORS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73")
_NUM_FACES = 3
_SHOWN_POINTS = {"ibug68": ("left_eye_1", "right_eye_4", "nose_bridge_4", "outer_lip_1", "outer_lip_7")}
"""Points that are shown by default of a schema with many points: a few that lie apart."""

_PANEL_PX, _GAP_PX, _LABEL_PX, _HEAD_PX, _FOOT_PX = 160, 6, 140, 30, 84
_DARKNESS, _OPACITY = 0.5, 0.85


@dataclass(frozen=True, kw_only=True)
class SelectedFaces:
    """Faces of a split of the data set at ``uri``; points and boxes are in crop pixels.

    Attributes:
        image: Crops (f, 160, 160) or (f, 160, 160, 3) uint8.
        face_box_f4: Part of the crop that the network sees.
        rows: Indices of the faces in the split.
    """

    image: Tensor
    points_fk2: Tensor
    face_box_f4: Tensor
    rows: list[int]
    schema: KeypointSchema
    uri: str


@dataclass(frozen=True, kw_only=True)
class BranchMaps:
    """Probability maps of the branches of one model.

    Attributes:
        maps: Side of the maps in pixels and probabilities (f, k, h, w) of each branch, coarsest first.
    """

    label: str
    maps: list[tuple[int, Floats]]
    whole_fkhw: Floats


def select_faces(data_uri: str, split_name: str, rows: Sequence[int]) -> SelectedFaces:
    """Select the faces with these indices in a split; without indices, three that are spread over it.

    Raises:
        RcnSearchError: A row does not exist.
    """
    dataset = open_dataset(data_uri)
    split = dataset.split(split_name)
    shown = list(rows) or [int(row) for row in np.linspace(0, split.num_rows - 1, min(_NUM_FACES, split.num_rows))]
    for row in shown:
        if not 0 <= row < split.num_rows:
            raise RcnSearchError(f"split {split_name!r} has no row {row}; it has rows 0 to {split.num_rows - 1}")
    index = torch.tensor(shown)
    return SelectedFaces(
        image=split.images_at(index),
        points_fk2=split.points_nk2[index],
        face_box_f4=split.face_box_n4[index],
        rows=shown,
        schema=dataset.manifest.keypoint_schema,
        uri=data_uri,
    )


def select_points(schema: KeypointSchema, names: Sequence[str]) -> list[int]:
    """Return the indices of the named points; without names, of a few that lie apart.

    Raises:
        RcnSearchError: A name is not known, or there are more points than distinct colors.
    """
    names = names or _SHOWN_POINTS.get(schema.name, schema.names[: len(_COLORS)])
    for name in names:
        if name not in schema.names:
            raise RcnSearchError(f"{schema.name!r} has no point {name!r}; it has {', '.join(schema.names)}")
    if len(names) > len(_COLORS):
        raise RcnSearchError(f"{len(names)} points are too many for distinct colors; name at most {len(_COLORS)}")
    return [schema.names.index(name) for name in names]


def compute_branch_maps(checkpoint_uris: Sequence[str], faces: SelectedFaces) -> list[BranchMaps]:
    """Compute the maps of all branches of checkpoints.

    Raises:
        RcnSearchError: A model has no branches, or predicts other keypoints than the faces have.
    """
    loaded = [(uri, *load_network(uri)) for uri in checkpoint_uris]
    for uri, _, info in loaded:
        if not isinstance(info.config.model, BranchesConfig):
            raise RcnSearchError(f"{uri} is a {info.config.model.name}, which has no branches; name an RCN or a SumNet")
        if info.keypoints != faces.schema.name:
            raise RcnSearchError(
                f"{uri} predicts {info.keypoints!r} points, {faces.uri} has {faces.schema.name!r} points"
            )
    labels = config_labels([info.config for _, _, info in loaded], checkpoint_uris, section="model")
    return [
        _compute_maps(network, info, faces, label) for (_, network, info), label in zip(loaded, labels, strict=True)
    ]


@torch.inference_mode()
def _compute_maps(network: Network, info: CheckpointInfo, faces: SelectedFaces, label: str) -> BranchMaps:
    model, size_px = info.config.model, info.config.input.size_px
    assert isinstance(model, BranchesConfig)
    image = network_inputs(faces.image, face_box_windows(faces.face_box_f4), info.config.input)
    sides = resolutions_px(size_px, model.branches)
    kept_sides = [side for side, is_kept in zip(sides, model.kept_branches, strict=True) if is_kept]
    maps = [_probabilities(logits) for logits in network.branch_logits(image)]
    return BranchMaps(
        label=label, maps=list(zip(reversed(kept_sides), maps, strict=True)), whole_fkhw=_probabilities(network(image))
    )


def _probabilities(logits_fkhw: Tensor) -> Floats:
    """Compute the softmax over all pixels of each map."""
    return np.asarray(logits_fkhw.double().flatten(2).softmax(dim=2).view_as(logits_fkhw))


def draw_branches(faces: SelectedFaces, models: Sequence[BranchMaps], points: Sequence[int], uri: str) -> None:
    """Draw a row of maps for each face and model, with a column for each resolution and a color for each point."""
    points_fk2 = warp_points(faces.points_fk2, face_box_windows(faces.face_box_f4)).numpy()[:, list(points)]
    color_kc = np.array([to_rgb(color) for color in _COLORS[: len(points)]])
    windows = [_window(faces, index) for index in range(len(faces.rows))]
    sides = sorted({side for model in models for side, _ in model.maps})
    grid = _PanelGrid(num_columns=len(sides) + 2, num_rows=len(windows) * len(models))
    for column, text in enumerate(["face, true points", *(f"{side}×{side}" for side in sides), "all branches"]):
        grid.add_column_name(column, text)
    for row in range(grid.num_rows):
        face, model = row // len(models), models[row % len(models)]
        grid.add_row_name(row, f"{model.label}\nface {faces.rows[face]}")
        grid.add_panel(row, 0, windows[face], points_fk2[face], color_kc)
        for side, map_fkhw in [*model.maps, (None, model.whole_fkhw)]:
            column = 1 + (sides.index(side) if side else len(sides))
            overlaid = overlay_maps(windows[face], map_fkhw[face, list(points)], color_kc)
            grid.add_panel(row, column, overlaid, points_fk2[face], np.ones((len(points), 3)))
    grid.add_legend([faces.schema.names[index] for index in points])
    save_figure(grid.figure, uri)


def _window(faces: SelectedFaces, index: int) -> Floats:
    """Cut out what the network sees of a face: (panel, panel, 3) from 0 to 1, black outside the crop."""
    x, y, width, height = faces.face_box_f4[index].tolist()
    crop = Image.fromarray(faces.image[index].numpy()).convert("RGB")
    window = crop.transform(
        (_PANEL_PX, _PANEL_PX), Image.Transform.EXTENT, (x, y, x + width, y + height), Image.Resampling.BICUBIC
    )
    return np.asarray(window, np.float64) / 255


def overlay_maps(window_hwc: Floats, map_khw: Floats, color_kc: Floats) -> Floats:
    """Lay maps over a darkened face, each in its color, more opaque where a cell is more probable.

    Opacity grows with the square root of the probability; in proportion to it, only the peak of a map would be visible.
    """
    factor = window_hwc.shape[0] // map_khw.shape[1]
    opacity_khw = _OPACITY * np.sqrt(map_khw / map_khw.max(axis=(1, 2), keepdims=True))
    opacity_khw = opacity_khw.repeat(factor, axis=1).repeat(factor, axis=2)
    # Where maps overlap, their colors mix, so their order does not matter.
    color_hwc = np.einsum("khw,kc->hwc", opacity_khw, color_kc) / opacity_khw.sum(axis=0).clip(1e-9)[..., None]
    through_hw1 = (1 - opacity_khw).prod(axis=0)[..., None]
    return np.asarray(window_hwc * _DARKNESS * through_hw1 + color_hwc * (1 - through_hw1))


class _PanelGrid:
    """A figure whose panels lie at whole pixels, so that a cell of a map is a square of pixels."""

    def __init__(self, *, num_columns: int, num_rows: int) -> None:
        self.num_rows = num_rows
        self.width_px = _LABEL_PX + num_columns * (_PANEL_PX + _GAP_PX)
        self.height_px = _HEAD_PX + num_rows * (_PANEL_PX + _GAP_PX) + _FOOT_PX
        self.figure = Figure(figsize=(self.width_px / 100, self.height_px / 100), dpi=100)

    def add_column_name(self, column: int, text: str) -> None:
        x = _LABEL_PX + column * (_PANEL_PX + _GAP_PX) + _PANEL_PX / 2
        self._text(x, _HEAD_PX / 2, text, ha="center", fontsize=10)

    def add_row_name(self, row: int, text: str) -> None:
        y = _HEAD_PX + row * (_PANEL_PX + _GAP_PX) + _PANEL_PX / 2
        lines = "\n".join(wrap_text(line, 18) for line in text.split("\n"))
        self._text(_LABEL_PX - 8, y, lines, ha="right", fontsize=9)

    def add_panel(self, row: int, column: int, image_hwc: Floats, points_k2: Floats, color_kc: Floats) -> None:
        """Draw an image of the size of a panel, with rings at points given as shares of it."""
        left, top = _LABEL_PX + column * (_PANEL_PX + _GAP_PX), _HEAD_PX + row * (_PANEL_PX + _GAP_PX)
        width, height = _PANEL_PX / self.width_px, _PANEL_PX / self.height_px
        axes = self.figure.add_axes((left / self.width_px, 1 - (top + _PANEL_PX) / self.height_px, width, height))
        axes.set_axis_off()
        axes.imshow(image_hwc, interpolation="nearest", extent=(0, 1, 1, 0), vmin=0, vmax=1)
        for (x, y), color in zip(points_k2, color_kc, strict=True):
            # Wide and thin, so that the map at the point stays visible.
            axes.plot(x, y, "o", markersize=11, markerfacecolor="none", color=color, markeredgewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(1, 0))

    def add_legend(self, names: Sequence[str]) -> None:
        dot: dict[str, Any] = {"xdata": [], "ydata": [], "linestyle": "", "marker": "o"}
        colored = zip(names, _COLORS, strict=False)
        handles = [Line2D(**dot, markersize=9, color=color, label=name) for name, color in colored]
        handles.append(Line2D(**dot, markersize=6, markerfacecolor="white", color=INK, label="true point"))
        corner = (0, 34 / self.height_px)
        self.figure.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, bbox_to_anchor=corner)
        note = (
            "Opacity: square root of a cell's probability over the largest of its map. SumNet: each branch alone. "
            "RCN: the branch and all coarser ones, finer encoder maps set to zero."
        )
        self._text(12, self.height_px - 20, note, ha="left", fontsize=9)

    def _text(self, x_px: float, y_px: float, text: str, **style: Any) -> None:
        self.figure.text(x_px / self.width_px, 1 - y_px / self.height_px, text, color=INK, va="center", **style)
