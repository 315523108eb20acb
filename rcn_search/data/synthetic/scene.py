"""Draw what is behind the head: a cluttered background, other people, neck, clothes and long hair (tones 0..255)."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from rcn_search.data.synthetic.head import Head
from rcn_search.data.synthetic.noise import paste_texture, texture, to_image
from rcn_search.data.synthetic.projection import View
from rcn_search.data.synthetic.render import CANVAS_PX, SUPERSAMPLE, Light, Rendered

_SHAPE = (CANVAS_PX, CANVAS_PX)
_NECK_EDGES = np.linspace(-1, 1, 15)  # of vertical strips, each lit like a part of a cylinder
_NECK_MIDDLES = 0.5 * (_NECK_EDGES[1:] + _NECK_EDGES[:-1])
_NECK_DEPTHS = (1 - _NECK_MIDDLES**2) ** 0.5


def background(rng: np.random.Generator) -> Image.Image:
    """Draw a wall, a gradient or a blurred view, with some of: clutter, stripes, writing, bright spots."""
    tone, contrast = rng.uniform(0.05, 0.95), rng.uniform(0.03, 0.3)
    tones = tone + contrast * texture("cloud" if rng.random() < 0.7 else "strands", _SHAPE, rng)
    if rng.random() < 0.5:
        ramp = np.linspace(-1, 1, CANVAS_PX, dtype=np.float32) * rng.uniform(-0.4, 0.4)
        tones = tones + (ramp if rng.random() < 0.5 else ramp[:, None])
    image = to_image(tones)
    pen = ImageDraw.Draw(image)
    for draw in (_clutter, _stripes, _writing, _spots):
        if rng.random() < 0.35:
            draw(pen, rng)
    return image


def _clutter(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(3, 14)):
        corners = rng.uniform(0, CANVAS_PX, 2) + rng.normal(0, CANVAS_PX / 6, (rng.integers(3, 6), 2))
        pen.polygon(corners.ravel().tolist(), fill=int(rng.integers(256)))


def _stripes(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    step, width, slant, tone = rng.uniform(8, 40), int(rng.integers(1, 12)), rng.normal(0, 60), int(rng.integers(256))
    upright = rng.random() < 0.6
    for start in np.arange(-CANVAS_PX, 2 * CANVAS_PX, step).tolist():
        line = ((start, 0), (start + slant, CANVAS_PX))
        pen.line(line if upright else [(y, x) for x, y in line], fill=tone, width=width)


def _writing(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Draw rows of strokes like letters."""
    size, tone = rng.uniform(8, 26), int(rng.choice([10, 245]))
    for line in range(rng.integers(1, 5)):
        col, row = rng.uniform(0, CANVAS_PX / 2), rng.uniform(0, CANVAS_PX) + line * size
        for letter in range(rng.integers(3, 12)):
            left = col + letter * size * 0.8
            stroke = [
                (left + x * (0.6 * size), row + y * size) for x, y in rng.random((rng.integers(2, 5), 2)).tolist()
            ]
            pen.line(stroke, fill=tone, width=int(1 + size / 9))


def _spots(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Draw lights out of focus; dark and small ones look like eyes."""
    for _ in range(rng.integers(3, 20)):
        x, y, r = *rng.uniform(0, CANVAS_PX, 2), rng.uniform(2, 18)
        pen.ellipse((x - r, y - 0.8 * r, x + r, y + 0.8 * r), fill=int(rng.integers(256)))
        if rng.random() < 0.5:
            pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=int(rng.integers(256)))


def bystanders(
    canvas: Image.Image, rendered: Rendered, eyes_px: np.ndarray, scale_px: float, rng: np.random.Generator
) -> None:
    """Draw other faces and parts of faces, so that a single eye does not reveal where the labeled face is.

    They are copies of the head itself: smaller, flipped, lighter or darker, mostly beside it and always behind.
    """
    if rng.random() > 0.55:
        return
    head, cover = to_image(rendered.tones * rng.uniform(0.6, 1.3)), rendered.cover
    left, top, right, bottom = cover.getbbox() or (0, 0, CANVAS_PX, CANVAS_PX)
    for _ in range(rng.integers(0, 3)):
        share = rng.uniform(0.4, 0.95)
        size = int((right - left) * share), int((bottom - top) * share)
        copy, mask = (im.resize(size, Image.Resampling.NEAREST, (left, top, right, bottom)) for im in (head, cover))
        if rng.random() < 0.5:
            copy, mask = (im.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for im in (copy, mask))
        x = left - size[0] * rng.uniform(0.2, 0.8) if rng.random() < 0.5 else right - size[0] * rng.uniform(0.2, 0.8)
        canvas.paste(copy, (int(x), int(rng.uniform(-0.3, 0.9) * CANVAS_PX)), mask)
    half_width, half_height = 0.3 * scale_px * SUPERSAMPLE, 0.2 * scale_px * SUPERSAMPLE
    eyes = (eyes_px * SUPERSAMPLE).tolist()
    for _ in range(rng.integers(1, 6)):
        x, y = eyes[rng.integers(2)]
        scrap = head.crop((int(x - half_width), int(y - half_height), int(x + half_width), int(y + half_height)))
        mask = Image.new("L", scrap.size, 0)
        ImageDraw.Draw(mask).ellipse((0, 0, *scrap.size), fill=255)
        canvas.paste(scrap, (int(rng.integers(CANVAS_PX)), int(rng.integers(CANVAS_PX))), mask)


def body(canvas: Image.Image, head: Head, view: View, light: Light, gain: float, rng: np.random.Generator) -> None:
    """Draw neck, shoulders and the hair behind the head."""
    t, unit = head.traits, view.scale_px * SUPERSAMPLE
    base_x, base_y = (float(v) * SUPERSAMPLE for v in view.project(np.array([0.0, 0.75 * head.chin_y, -0.35]))[:2])
    lean = math.sin(math.radians(0.5 * t.roll_deg))
    pen = ImageDraw.Draw(canvas)
    if t.hair_style == "long" or (t.female and t.hair_style != "bald"):
        _hair_behind(canvas, head, view, gain, rng)
    facing = np.maximum(0, light.direction[0] * _NECK_MIDDLES + light.direction[2] * _NECK_DEPTHS)
    shades = (t.skin * gain * 0.75 * (light.ambient + light.strength * facing)).clip(0, 1) * 255
    foot_x, foot_y = base_x - lean * unit, base_y + 1.1 * unit
    edges = [(base_x + edge * (0.6 * unit), foot_x + edge * (0.75 * unit)) for edge in _NECK_EDGES.tolist()]
    for shade, (top, foot), (next_top, next_foot) in zip(shades.astype(int).tolist(), edges, edges[1:], strict=False):
        pen.polygon((top, base_y, next_top, base_y, next_foot, foot_y, foot, foot_y), fill=shade)
    collar_x, collar_y = base_x - lean * unit, base_y + rng.uniform(0.6, 1.0) * unit
    neckline = [(-0.75, -0.1), (0, rng.uniform(0.0, 0.6)), (0.75, -0.1)]
    outline = [*neckline, (1.5, 0.2), (2.5, 0.6), (2.6, 3), (-2.6, 3), (-2.5, 0.6), (-1.5, 0.2)]
    corners = [(collar_x + x * unit, collar_y + y * unit) for x, y in outline]
    cover = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(cover).polygon(corners, fill=255)
    tone, contrast = rng.uniform(0.03, 0.9), rng.uniform(0.02, 0.25)
    weave = texture("skin" if rng.random() < 0.5 else "strands", _SHAPE, rng)
    paste_texture(canvas, cover, weave, lambda grain: tone * (1 + contrast * grain))
    pen.line(corners[:3], fill=int(rng.integers(256)), width=int(rng.integers(1, 5)))


def _hair_behind(canvas: Image.Image, head: Head, view: View, gain: float, rng: np.random.Generator) -> None:
    t = head.traits
    length = rng.uniform(1.1, 2.4) if t.hair_style == "long" else rng.uniform(0.6, 1.4)
    y = np.linspace(t.crown_y * 1.05, length, 14)
    half = rng.uniform(1.05, 1.3) * (1 - (y / (t.crown_y * 1.06)).clip(0, 1) ** 2.4) ** 0.4
    half = half + 0.04 * rng.normal(size=14)
    outline = np.empty((3, 28))
    outline[0, :14], outline[0, 14:] = half, -half[::-1]
    outline[1, :14], outline[1, 14:] = y, y[::-1]
    outline[2] = -0.25
    x_px, y_px, _ = view.project(outline)
    cover = Image.new("L", canvas.size, 0)
    corners = zip((x_px * SUPERSAMPLE).tolist(), (y_px * SUPERSAMPLE).tolist(), strict=True)
    ImageDraw.Draw(cover).polygon(list(corners), fill=255)
    tone = t.hair * gain * 0.6
    paste_texture(canvas, cover, texture("strands", _SHAPE, rng), lambda grain: tone * (1 + 0.3 * grain))
