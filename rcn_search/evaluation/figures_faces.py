"""Faces with their points, true and predicted, drawn in memory and published whole at a URI as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rcn_search import storage
from rcn_search.keypoints import KeypointSchema

Points = Sequence[tuple[float, float] | None]
"""Places as Pillow takes them; None for a point that is nowhere."""

# Bright on any skin and apart for all kinds of colour vision by their lightness too.
_TRUE, _PRED, _LINK = "#2EE6A8", "#FF5A4F", "#FFD84D"
_INK = "#222222"

_FACE_PX = 240
_SUPERSAMPLING = 3
_LARGE_PX = _FACE_PX * _SUPERSAMPLING
_GAP_PX = 8
_LEGEND_PX = 28


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
    legend_px = 0 if pred_nk2 is None else _LEGEND_PX
    sheet = Image.new("RGB", (num_columns * pitch_px + _GAP_PX, num_rows * pitch_px + _GAP_PX + legend_px), "white")
    scale = _LARGE_PX / np.array([image_nhw.shape[2], image_nhw.shape[1]])
    # Fewer points may be drawn larger.
    radius = _LARGE_PX * (0.014 if schema.num_points <= 20 else 0.007)
    for index, image_hw in enumerate(image_nhw):
        row, column = divmod(index, num_columns)
        # Drawn larger and shrunk, which is what smooths lines and dots.
        large = Image.fromarray(image_hw).convert("RGB").resize((_LARGE_PX,) * 2, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(large)
        true = _places(true_nk2[index] * scale)
        pred = _places(pred_nk2[index] * scale) if pred_nk2 is not None else ()
        _draw_parts(draw, true, schema)
        for start, end in zip(true, pred, strict=False):
            if start is not None and end is not None:
                draw.line([start, end], fill=_LINK, width=2 * _SUPERSAMPLING)
        for places, colour in ((true, _TRUE), (pred, _PRED)):
            for xy in filter(None, places):
                draw.circle(xy, radius, fill=colour, outline="black", width=_SUPERSAMPLING // 2)
        face = large.resize((_FACE_PX,) * 2, Image.Resampling.LANCZOS)
        if captions is not None:
            _draw_caption(face, captions[index])
        sheet.paste(face, (_GAP_PX + column * pitch_px, _GAP_PX + row * pitch_px))
    if pred_nk2 is not None:
        _draw_legend(sheet)
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    storage.write_bytes(uri, stream.getvalue())


def _places(points_k2: NDArray[np.floating[Any]]) -> Points:
    """Points of the enlarged face; one far outside is moved to just outside."""
    clipped = np.clip(points_k2, -_LARGE_PX, 2 * _LARGE_PX)
    return [(float(x), float(y)) if np.isfinite([x, y]).all() else None for x, y in clipped]


def _draw_parts(draw: ImageDraw.ImageDraw, places: Points, schema: KeypointSchema) -> None:
    for part in schema.parts:
        line = [xy for k in part if (xy := places[k]) is not None]
        if len(line) == len(part) > 1:
            draw.line(line, fill=_TRUE, width=_SUPERSAMPLING)


def _draw_caption(face: Image.Image, text: str) -> None:
    draw = ImageDraw.Draw(face, "RGBA")
    font = ImageFont.load_default(14)
    left, top, right, bottom = draw.textbbox((8, 6), text, font=font)
    draw.rounded_rectangle((left - 4, top - 3, right + 4, bottom + 3), radius=4, fill=(0, 0, 0, 150))
    draw.text((8, 6), text, font=font, fill="white")


def _draw_legend(sheet: Image.Image) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    x, y = _GAP_PX + 8.0, sheet.height - _LEGEND_PX / 2 - 2
    for colour, text in ((_TRUE, "true"), (_PRED, "predicted")):
        draw.circle((x, y), 5, fill=colour, outline="black")
        draw.text((x + 11, y), text, font=font, fill=_INK, anchor="lm")
        x += 27 + draw.textlength(text, font=font)
