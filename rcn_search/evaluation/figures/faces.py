"""Faces with their points, true and predicted, drawn in memory and published whole at a URI.

The photographs are pixels in all formats; in SVG and PDF points, lines and words are drawn sharp over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

# Bright on any skin and apart for all kinds of colour vision by their lightness too.
_TRUE, _PRED, _LINK = "#2EE6A8", "#FF5A4F", "#FFD84D"

_FACE_PX = 240
_GAP_PX = 8
_LEGEND_PX = 28
_DPI = 150
_PT = 72 / _DPI
"""A pixel of the sheet in points, in which Matplotlib measures lines, dots and letters."""


def draw_faces(
    image_nhw: NDArray[np.uint8],
    true_nk2: NDArray[np.floating[Any]],
    pred_nk2: NDArray[np.floating[Any]] | None,
    uri: str,
    schema: KeypointSchema,
    *,
    captions: Sequence[str] | None = None,
    num_columns: int | None = None,
) -> None:
    """A grid of faces with true points joined along the parts of the face, and a line from each to its prediction.

    Args:
        image_nhw: (N, H, W) grey or (N, H, W, 3) colour.
        true_nk2: (N, K, 2) true points in image pixels; pixel i covers [i, i+1).
        pred_nk2: (N, K, 2) predicted points; none to show the truth alone.
        uri: Where it goes; the end of the name says what it becomes.
        schema: Meaning of the points.
        captions: One short line per face, drawn in its corner.
        num_columns: Faces in a row; by default about as many as there are rows.

    Raises:
        RcnSearchError: There is no face, or the points are not those of the schema.
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
    figure, axes = _sheet(num_columns * pitch_px + _GAP_PX, num_rows * pitch_px + _GAP_PX + legend_px)
    scale = _FACE_PX / np.array([image_nhw.shape[2], image_nhw.shape[1]])
    for index, image_hw in enumerate(image_nhw):
        row, column = divmod(index, num_columns)
        face = _Face(axes, (_GAP_PX + column * pitch_px, _GAP_PX + row * pitch_px), image_hw)
        true_k2 = face.places(true_nk2[index] * scale)
        face.join([true_k2[list(part)] for part in schema.parts], _TRUE, width_px=1.0)
        if pred_nk2 is not None:
            pred_k2 = face.places(pred_nk2[index] * scale)
            face.join(list(np.stack([true_k2, pred_k2], axis=1)), _LINK, width_px=2.0)
        face.dots(true_k2, _TRUE)
        if pred_nk2 is not None:
            face.dots(pred_k2, _PRED)
        if captions is not None:
            face.caption(captions[index])
    # Set last, since an image that is shown moves them.
    axes.set_xlim(0, figure.get_figwidth() * _DPI)
    axes.set_ylim(figure.get_figheight() * _DPI, 0)
    if pred_nk2 is not None:
        _draw_legend(axes)
    save_figure(figure, uri)


class _Face:
    """One place of the sheet: what is drawn there ends at its edges."""

    def __init__(self, axes: Axes, corner: tuple[int, int], image_hw: NDArray[np.uint8]) -> None:
        self._axes = axes
        self._corner_2 = np.array(corner, dtype=np.float64)
        left, top, right, bottom = (*corner, corner[0] + _FACE_PX, corner[1] + _FACE_PX)
        self._edges = TransformedBbox(Bbox.from_extents(left, top, right, bottom), axes.transData)
        self._axes.imshow(
            image_hw,
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=(left, right, bottom, top),
            interpolation="bicubic",
            aspect="auto",
        )

    def places(self, points_k2: NDArray[np.floating[Any]]) -> Array:
        """Points of the face on the sheet; one far outside is moved to just outside."""
        return np.asarray(np.clip(points_k2, -_FACE_PX, 2 * _FACE_PX) + self._corner_2)

    def join(self, lines: Sequence[Array], colour: str, *, width_px: float) -> None:
        """Lines through points, but for those of which a point is nowhere."""
        whole = [line for line in lines if len(line) > 1 and np.isfinite(line).all()]
        self._within(LineCollection(whole, colors=colour, linewidths=width_px * _PT, zorder=1))

    def dots(self, place_k2: Array, colour: str) -> None:
        """A dot for each point that is somewhere; fewer points may be drawn larger."""
        diameter_px = _FACE_PX * (0.028 if len(place_k2) <= 20 else 0.014)
        there = place_k2[np.isfinite(place_k2).all(axis=1)]
        self._within(
            self._axes.scatter(
                there[:, 0],
                there[:, 1],
                s=(diameter_px * _PT) ** 2,
                c=colour,
                edgecolors="black",
                linewidths=0.5 * _PT,
                zorder=2,
            )
        )

    def caption(self, text: str) -> None:
        """A short line in the corner."""
        plate = {"boxstyle": "round,pad=0.25,rounding_size=0.2", "facecolor": (0, 0, 0, 0.6), "edgecolor": "none"}
        x, y = (self._corner_2 + 8).tolist()
        self._axes.text(x, y, wrap_text(text), color="white", fontsize=14 * _PT, va="top", bbox=plate, zorder=3)

    def _within(self, drawn: Collection) -> None:
        if drawn.axes is None:
            self._axes.add_collection(drawn, autolim=False)
        drawn.set_clip_box(self._edges)


def _sheet(width_px: int, height_px: int) -> tuple[Figure, Axes]:
    """Axes that fill a figure and count its pixels, from the upper left corner."""
    figure = Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return figure, axes


def _draw_legend(axes: Axes) -> None:
    """Under the faces, in a line."""
    y = axes.get_ylim()[0] - _LEGEND_PX / 2 - 2
    for x, colour, text in ((_GAP_PX + 8, _TRUE, "true"), (_GAP_PX + 76, _PRED, "predicted")):
        axes.scatter(x, y, s=(10 * _PT) ** 2, c=colour, edgecolors="black", linewidths=0.5 * _PT)
        axes.text(x + 11, y, text, color=INK, fontsize=15 * _PT, va="center_baseline")
