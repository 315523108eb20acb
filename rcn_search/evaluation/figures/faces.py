"""Faces with their true and predicted points.

The photographs are pixels in all formats; in SVG and PDF the points, lines and text over them are vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures.style import INK, save_figure, wrap_text
from rcn_search.evaluation.metrics import Array
from rcn_search.keypoints import KeypointSchema

# Bright on any skin, and of different lightness, so that they are distinct for all kinds of color vision.
_TRUE_COLOR, _PRED_COLOR, _ERROR_COLOR = "#2EE6A8", "#FF5A4F", "#FFD84D"

_FACE_PX, _GAP_PX, _LEGEND_PX, _TITLE_PX, _DPI = 240, 8, 28, 44, 150
_PT = 72 / _DPI
"""Size of a pixel in points, the unit of Matplotlib for lines, dots and text."""


def draw_faces(
    image_nhw: NDArray[np.uint8],
    true_nk2: NDArray[np.floating[Any]],
    pred_nk2: NDArray[np.floating[Any]] | None,
    uri: str,
    schema: KeypointSchema,
    *,
    captions: Sequence[str] | None = None,
    num_columns: int | None = None,
    row_titles: Sequence[str] | None = None,
) -> None:
    """Draw a grid of faces with true points, joined along the edges of the schema, and a line to each prediction.

    Images are (n, h, w) gray or (n, h, w, 3) color. Points are in image pixels; pixel i covers [i, i + 1). Without
    ``pred_nk2`` the true points are drawn alone, without ``num_columns`` there are about as many columns as rows.
    ``captions`` are short lines for the corners of the faces; ``row_titles`` stand at the left of the rows.

    Raises:
        RcnSearchError: There are no faces, or the points do not fit the schema.
    """
    num_faces = len(image_nhw)
    if not num_faces:
        raise RcnSearchError("no face to draw")
    for points in (true_nk2, pred_nk2):
        if points is not None and points.shape != (num_faces, schema.num_points, 2):
            raise RcnSearchError(f"points of shape {points.shape} are not {num_faces} faces of schema {schema.name!r}")
    num_columns = min(num_faces, num_columns or math.ceil(math.sqrt(num_faces)))
    num_rows = math.ceil(num_faces / num_columns)
    pitch_px = _FACE_PX + _GAP_PX
    legend_px = 0 if pred_nk2 is None else _LEGEND_PX
    left_px = _GAP_PX + (_TITLE_PX if row_titles else 0)
    figure, axes = _pixel_axes(num_columns * pitch_px + left_px, num_rows * pitch_px + _GAP_PX + legend_px)
    scale = _FACE_PX / np.array([image_nhw.shape[2], image_nhw.shape[1]])
    for index, image_hw in enumerate(image_nhw):
        row, column = divmod(index, num_columns)
        face = _Face(axes, (left_px + column * pitch_px, _GAP_PX + row * pitch_px), image_hw)
        true_k2 = face.to_figure(true_nk2[index] * scale)
        pairs = [pair for edge in schema.edges for pair in pairwise(edge)]
        face.draw_lines([true_k2[list(pair)] for pair in pairs], _TRUE_COLOR, width_px=1.0)
        face.draw_dots(true_k2, _TRUE_COLOR)
        if pred_nk2 is not None:
            pred_k2 = face.to_figure(pred_nk2[index] * scale)
            face.draw_lines(list(np.stack([true_k2, pred_k2], axis=1)), _ERROR_COLOR, width_px=2.0)
            face.draw_dots(pred_k2, _PRED_COLOR)
        if captions is not None:
            face.draw_caption(captions[index])
    for row, title in enumerate(row_titles or ()):
        center_px = _GAP_PX + row * pitch_px + _FACE_PX / 2
        style: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "center", "linespacing": 1.1}
        axes.text(left_px / 2, center_px, wrap_text(title, 26), color=INK, fontsize=14 * _PT, **style)
    # Set last, because `imshow` changes the limits.
    axes.set_xlim(0, figure.get_figwidth() * _DPI)
    axes.set_ylim(figure.get_figheight() * _DPI, 0)
    if pred_nk2 is not None:
        _draw_legend(axes)
    save_figure(figure, uri)


class _Face:
    """A cell of the grid: drawings are clipped to its edges."""

    def __init__(self, axes: Axes, corner: tuple[int, int], image_hw: NDArray[np.uint8]) -> None:
        self._axes = axes
        self._corner_2 = np.array(corner, dtype=np.float64)
        left, top, right, bottom = (*corner, corner[0] + _FACE_PX, corner[1] + _FACE_PX)
        self._edges = TransformedBbox(Bbox.from_extents(left, top, right, bottom), axes.transData)
        extent = (left, right, bottom, top)
        axes.imshow(image_hw, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bicubic", aspect="auto")

    def to_figure(self, points_k2: NDArray[np.floating[Any]]) -> Array:
        """Convert points of the face to pixels of the figure; points far outside are moved closer."""
        return np.asarray(np.clip(points_k2, -_FACE_PX, 2 * _FACE_PX) + self._corner_2)

    def draw_lines(self, lines: Sequence[Array], color: str, *, width_px: float) -> None:
        """Draw lines through points, except those with a point that is not finite."""
        finite = [line for line in lines if len(line) > 1 and np.isfinite(line).all()]
        self._clip(LineCollection(finite, colors=color, linewidths=width_px * _PT, zorder=1))

    def draw_dots(self, points_k2: Array, color: str) -> None:
        """Draw a dot for each finite point; they are smaller for schemas with many points."""
        diameter = _FACE_PX * (0.028 if len(points_k2) <= 20 else 0.014) * _PT
        x, y = points_k2[np.isfinite(points_k2).all(axis=1)].T
        self._clip(self._axes.scatter(x, y, diameter**2, color, edgecolors="black", linewidths=0.5 * _PT, zorder=2))

    def draw_caption(self, text: str) -> None:
        plate = {"boxstyle": "round,pad=0.25,rounding_size=0.2", "facecolor": (0, 0, 0, 0.6), "edgecolor": "none"}
        x, y = (self._corner_2 + 8).tolist()
        self._axes.text(x, y, wrap_text(text), color="white", fontsize=14 * _PT, va="top", bbox=plate, zorder=3)

    def _clip(self, drawn: Collection) -> None:
        if drawn.axes is None:
            self._axes.add_collection(drawn, autolim=False)
        drawn.set_clip_box(self._edges)


def _pixel_axes(width_px: int, height_px: int) -> tuple[Figure, Axes]:
    """Make axes that fill a figure, in pixels from the upper left corner."""
    figure = Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return figure, axes


def _draw_legend(axes: Axes) -> None:
    y = axes.get_ylim()[0] - _LEGEND_PX / 2 - 2
    for x, color, text in ((_GAP_PX + 8, _TRUE_COLOR, "true"), (_GAP_PX + 76, _PRED_COLOR, "predicted")):
        axes.scatter(x, y, s=(10 * _PT) ** 2, c=color, edgecolors="black", linewidths=0.5 * _PT)
        axes.text(x + 11, y, text, color=INK, fontsize=15 * _PT, va="center_baseline")
