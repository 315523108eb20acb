"""Draw predicted faces onto their photograph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from rcn_search.inference.photographs.record import FaceRecord
from rcn_search.keypoint_schemas.schema import KeypointSchema

_OVERSAMPLING = 3  # Pillow draws without antialiasing
_MAX_OVERSAMPLED_PX = 6_000
_BOX, _LINE, _POINT, _CIRCLE = (255, 255, 255, 150), (0, 220, 200, 200), (255, 210, 0, 255), (255, 120, 0, 170)
_EDGE = (0, 0, 0, 160)
_QUALITY = 92


def draw_faces(image: Image.Image, faces: Sequence[FaceRecord], schema: KeypointSchema) -> Image.Image:
    """Return a copy of the photograph with the box, lines, points and radius circles of each face."""
    drawn = image.copy()
    for face in faces:
        _draw_face(drawn, face, schema)
    return drawn


def save_drawing(image: Image.Image, faces: Sequence[FaceRecord], schema: KeypointSchema, path: Path) -> None:
    """Draw the faces and save the picture as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_faces(image, faces, schema).save(path, "JPEG", quality=_QUALITY)


def _draw_face(image: Image.Image, face: FaceRecord, schema: KeypointSchema) -> None:
    """Draw a face in place, on an enlarged layer of its own that is as small as the face."""
    left, top, right, bottom = _extent(image, face)
    if right <= left or bottom <= top:
        return
    size = right - left, bottom - top
    scale = max(min(_OVERSAMPLING, _MAX_OVERSAMPLED_PX // max(size)), 1)
    layer = Image.new("RGBA", (size[0] * scale, size[1] * scale), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    side = face.box[2]
    dot = max(side / (70 if schema.num_points < 20 else 130), 1.2) * scale
    line = max(round(side / 250 * scale), 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - left) * scale, (y - top) * scale

    box_x, box_y, width, height = face.box
    draw.rectangle([*at(box_x, box_y), *at(box_x + width, box_y + height)], outline=_BOX, width=line)
    for edge in schema.edges:
        draw.line([at(*face.points[k]) for k in edge], fill=_LINE, width=line, joint="curve")
    for index, (x, y) in enumerate(face.points):
        if face.radius:
            draw.circle(at(x, y), face.radius[index] * scale, outline=_CIRCLE, width=line)
        draw.circle(at(x, y), dot, fill=_POINT, outline=_EDGE, width=max(scale // 2, 1))
    smooth = layer.resize(size, Image.Resampling.BOX)
    image.paste(smooth, (left, top), smooth)


def _extent(image: Image.Image, face: FaceRecord) -> tuple[int, int, int, int]:
    """Find the part of the image that the drawing of a face covers: left, top, right, bottom."""
    x, y, width, height = face.box
    xs, ys = [x, x + width], [y, y + height]
    for index, (point_x, point_y) in enumerate(face.points):
        reach = max(width / 50, face.radius[index] if face.radius else 0.0) + 2
        xs += [point_x - reach, point_x + reach]
        ys += [point_y - reach, point_y + reach]
    return (
        max(math.floor(min(xs)) - 2, 0),
        max(math.floor(min(ys)) - 2, 0),
        min(math.ceil(max(xs)) + 2, image.width),
        min(math.ceil(max(ys)) + 2, image.height),
    )
