"""Pictures of a run: error by epoch, cumulative error curves, and faces with their points.

Each is drawn in memory and published whole at a URI, as PNG. Figures are made without pyplot, so nothing here touches
global state or needs a display.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rcn_search import storage
from rcn_search.keypoints import KeypointSchema

# Okabe and Ito's palette: distinct for all kinds of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _FAINT = "#222222", "#DDDDDD"
_TRUE, _PRED, _LINK = "#2EE6A8", "#FF5A4F", "#FFD84D"

_FACE_PX = 240
_SUPERSAMPLING = 3
_GAP_PX = 8
_LEGEND_PX = 28


def plot_error_curve(history: Sequence[Mapping[str, float]], uri: str) -> None:
    """Validation error, and the training loss where there is one, by epoch.

    Args:
        history: For each validated epoch at least ``epoch`` and ``val_error_pct``; ``loss`` if known.
        uri: Where the PNG goes.

    Raises:
        ValueError: The history is empty.
    """
    if not history:
        raise ValueError("no epoch to plot: the history is empty")
    epochs = [row["epoch"] for row in history]
    errors = [row["val_error_pct"] for row in history]
    figure, axes = _figure("epoch", "validation error, %")
    axes.plot(epochs, errors, color=_COLOURS[0], marker="o", markersize=4, linewidth=1.8)
    best = int(np.nanargmin(errors))
    axes.plot(epochs[best], errors[best], "o", markersize=9, markerfacecolor="none", color=_COLOURS[0])
    axes.annotate(
        f"{errors[best]:.2f} %",
        (epochs[best], errors[best]),
        xytext=(0, -14),
        textcoords="offset points",
        ha="center",
        va="top",
        color=_COLOURS[0],
        fontweight="bold",
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )
    axes.margins(y=0.18)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if all("loss" in row for row in history):
        twin = axes.twinx()
        twin.plot(epochs, [row["loss"] for row in history], color=_COLOURS[1], linewidth=1.2, linestyle="--")
        twin.set_ylabel("training loss (dashed)", color=_COLOURS[1])
        twin.tick_params(colors=_COLOURS[1], length=0)
        twin.spines[:].set_visible(False)
        axes.set_zorder(twin.get_zorder() + 1)  # the error, which matters, above the loss
        axes.patch.set_visible(False)
    _publish(figure, uri)


def plot_ced(error_pct_by_method: Mapping[str, NDArray[np.float64]], uri: str, *, threshold_pct: float = 20.0) -> None:
    """Cumulative error distribution: the share of images with an error of at most x.

    Args:
        error_pct_by_method: (N,) errors of the images that count, in percent, for each method.
        uri: Where the PNG goes.
        threshold_pct: End of the horizontal axis.

    Raises:
        ValueError: A method has no errors, or one that is not a number.
    """
    figure, axes = _figure("error of an image, %", "share of images, %")
    for index, (method, error_pct_n) in enumerate(error_pct_by_method.items()):
        if not len(error_pct_n) or not np.isfinite(error_pct_n).all():
            raise ValueError(f"{method}: no errors to plot, or some that are not finite; leave out excluded images")
        errors = np.sort(error_pct_n)
        shares = 100.0 * np.arange(len(errors) + 1) / len(errors)
        axes.step(
            np.concatenate([[0.0], errors, [max(threshold_pct, errors[-1])]]),
            np.concatenate([shares, shares[-1:]]),
            where="post",
            color=_COLOURS[index % len(_COLOURS)],
            linestyle=("-", "--", ":")[index // len(_COLOURS) % 3],
            linewidth=1.8,
            label=f"{method}   {errors.mean():.2f} %".replace("$", r"\$"),
        )
    axes.set_xlim(0, threshold_pct)
    axes.set_ylim(0, 101)
    axes.legend(loc="lower right", frameon=False, title="mean error", alignment="right")
    _publish(figure, uri)


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.grid(color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, length=0)
    return figure, axes


def _publish(figure: Figure, uri: str) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    storage.write_bytes(uri, stream.getvalue())


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
        uri: Where the PNG goes.
        schema: Meaning of the points.
        captions: One short line per face, drawn in its corner.
        num_columns: Faces in a row; by default about as many as there are rows.

    Raises:
        ValueError: There is no face, or the points are not those of the schema.
    """
    num_faces = len(image_nhw)
    if not num_faces:
        raise ValueError("no face to draw")
    for points in (true_nk2, pred_nk2):
        if points is not None and points.shape != (num_faces, schema.num_points, 2):
            raise ValueError(f"points of shape {points.shape} are not {num_faces} faces of schema {schema.name!r}")
    num_columns = min(num_faces, num_columns or math.ceil(math.sqrt(num_faces)))
    num_rows = math.ceil(num_faces / num_columns)
    pitch_px = _FACE_PX + _GAP_PX
    size = (
        num_columns * pitch_px + _GAP_PX,
        num_rows * pitch_px + _GAP_PX + (_LEGEND_PX if pred_nk2 is not None else 0),
    )
    sheet = Image.new("RGB", size, "white")
    for index in range(num_faces):
        row, column = divmod(index, num_columns)
        face = _face(image_nhw[index], true_nk2[index], None if pred_nk2 is None else pred_nk2[index], schema)
        if captions is not None:
            _caption(face, captions[index])
        sheet.paste(face, (_GAP_PX + column * pitch_px, _GAP_PX + row * pitch_px))
    if pred_nk2 is not None:
        _legend(sheet)
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    storage.write_bytes(uri, stream.getvalue())


def _face(
    image_hw: NDArray[np.uint8],
    true_k2: NDArray[np.floating[Any]],
    pred_k2: NDArray[np.floating[Any]] | None,
    schema: KeypointSchema,
) -> Image.Image:
    """Drawn larger and shrunk, which is what smooths lines and dots."""
    large_px = _FACE_PX * _SUPERSAMPLING
    face = Image.fromarray(image_hw).convert("RGB").resize((large_px, large_px), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(face)
    # Fewer points may be drawn larger.
    radius = large_px * (0.014 if schema.num_points <= 20 else 0.007)
    scale = np.array([large_px / image_hw.shape[1], large_px / image_hw.shape[0]])
    true_xy = _drawable(true_k2 * scale, large_px)
    for part in schema.parts:
        line = [xy for k in part if (xy := true_xy[k]) is not None]
        if len(line) == len(part) > 1:
            draw.line(line, fill=_TRUE, width=_SUPERSAMPLING)
    if pred_k2 is not None:
        pred_xy = _drawable(pred_k2 * scale, large_px)
        for start, end in zip(true_xy, pred_xy, strict=True):
            if start is not None and end is not None:
                draw.line([start, end], fill=_LINK, width=2 * _SUPERSAMPLING)
    for xy in filter(None, true_xy):
        draw.circle(xy, radius, fill=_TRUE, outline="black", width=_SUPERSAMPLING // 2)
    for xy in filter(None, pred_xy if pred_k2 is not None else ()):
        draw.circle(xy, radius, fill=_PRED, outline="black", width=_SUPERSAMPLING // 2)
    return face.resize((_FACE_PX, _FACE_PX), Image.Resampling.LANCZOS)


def _drawable(points_k2: NDArray[np.floating[Any]], side_px: int) -> list[tuple[float, float] | None]:
    """Points as Pillow takes them; None for one that is not finite. Far outside is moved to just outside."""
    clipped = np.clip(points_k2, -side_px, 2 * side_px)
    return [(float(x), float(y)) if np.isfinite([x, y]).all() else None for x, y in clipped]


def _caption(face: Image.Image, text: str) -> None:
    draw = ImageDraw.Draw(face, "RGBA")
    font = ImageFont.load_default(14)
    left, top, right, bottom = draw.textbbox((8, 6), text, font=font)
    draw.rounded_rectangle((left - 4, top - 3, right + 4, bottom + 3), radius=4, fill=(0, 0, 0, 150))
    draw.text((8, 6), text, font=font, fill="white")


def _legend(sheet: Image.Image) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    x, y = _GAP_PX + 8.0, sheet.height - _LEGEND_PX / 2 - 2
    for colour, text in ((_TRUE, "true"), (_PRED, "predicted")):
        draw.circle((x, y), 5, fill=colour, outline="black")
        draw.text((x + 11, y), text, font=font, fill=_INK, anchor="lm")
        x += 27 + draw.textlength(text, font=font)
