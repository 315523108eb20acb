"""Draw what is behind the head: a cluttered background, other people, neck, clothes and long hair (tones 0..255)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from rcn_search.data.synthetic.head import Head
from rcn_search.data.synthetic.noise import texture, to_image
from rcn_search.data.synthetic.projection import View
from rcn_search.data.synthetic.render import CANVAS_PX, SUPERSAMPLE, Light, Rendered

_SHAPE = (CANVAS_PX, CANVAS_PX)


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
        pen.polygon(list(map(tuple, corners)), fill=int(rng.integers(256)))


def _stripes(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    step, width, slant, tone = rng.uniform(8, 40), int(rng.integers(1, 12)), rng.normal(0, 60), int(rng.integers(256))
    upright = rng.random() < 0.6
    for start in np.arange(-CANVAS_PX, 2 * CANVAS_PX, step):
        line = ((start, 0), (start + slant, CANVAS_PX))
        pen.line(line if upright else [(y, x) for x, y in line], fill=tone, width=width)


def _writing(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Draw rows of strokes like letters."""
    size, tone = rng.uniform(8, 26), int(rng.choice([10, 245]))
    for line in range(rng.integers(1, 5)):
        col, row = rng.uniform(0, CANVAS_PX / 2), rng.uniform(0, CANVAS_PX) + line * size
        for letter in range(rng.integers(3, 12)):
            corner = np.array([col + letter * size * 0.8, row])
            stroke = corner + rng.random((rng.integers(2, 5), 2)) * (0.6 * size, size)
            pen.line(stroke.ravel().tolist(), fill=tone, width=int(1 + size / 9))


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
    head, cover = to_image(rendered.tones * rng.uniform(0.6, 1.3)), Image.fromarray(rendered.covered)
    left, top, right, bottom = cover.getbbox() or (0, 0, CANVAS_PX, CANVAS_PX)
    for _ in range(rng.integers(0, 3)):
        share = rng.uniform(0.4, 0.95)
        size = int((right - left) * share), int((bottom - top) * share)
        copy, mask = (im.resize(size, Image.Resampling.NEAREST, (left, top, right, bottom)) for im in (head, cover))
        if rng.random() < 0.5:
            copy, mask = (im.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for im in (copy, mask))
        x = left - size[0] * rng.uniform(0.2, 0.8) if rng.random() < 0.5 else right - size[0] * rng.uniform(0.2, 0.8)
        canvas.paste(copy, (int(x), int(rng.uniform(-0.3, 0.9) * CANVAS_PX)), mask)
    half = np.array([0.3, 0.2]) * scale_px * SUPERSAMPLE
    for _ in range(rng.integers(1, 6)):
        x, y = eyes_px[rng.integers(2)] * SUPERSAMPLE
        scrap = head.crop((int(x - half[0]), int(y - half[1]), int(x + half[0]), int(y + half[1])))
        mask = Image.new("L", scrap.size, 0)
        ImageDraw.Draw(mask).ellipse((0, 0, *scrap.size), fill=255)
        canvas.paste(scrap, (int(rng.integers(CANVAS_PX)), int(rng.integers(CANVAS_PX))), mask)


def body(canvas: Image.Image, head: Head, view: View, light: Light, gain: float, rng: np.random.Generator) -> None:
    """Draw neck, shoulders and the hair behind the head."""
    t, unit = head.traits, view.scale_px * SUPERSAMPLE
    base = np.array(view.project(np.array([0.0, 0.75 * head.chin_y, -0.35]))[:2]) * SUPERSAMPLE
    lean = np.sin(np.radians(0.5 * t.roll_deg))
    pen = ImageDraw.Draw(canvas)
    if t.hair_style == "long" or (t.female and t.hair_style != "bald"):
        _hair_behind(canvas, head, view, gain, rng)
    edges = np.linspace(-1, 1, 15)  # edges of vertical strips, each lit like a part of a cylinder
    middles = 0.5 * (edges[1:] + edges[:-1])
    facing = np.maximum(0, light.direction[0] * middles + light.direction[2] * (1 - middles**2) ** 0.5)
    shades = np.clip(t.skin * gain * 0.75 * (light.ambient + light.strength * facing), 0, 1) * 255
    ends = ((0.6, np.zeros(2)), (0.75, np.array([-lean, 1.1]) * unit))
    top, foot = (base + drop + edges[:, None] * (half_width * unit, 0) for half_width, drop in ends)
    strips = np.concatenate([top[:-1], top[1:], foot[1:], foot[:-1]], axis=1)
    for strip, shade in zip(strips.tolist(), shades.astype(int).tolist(), strict=True):
        pen.polygon(strip, fill=shade)
    collar = base + unit * np.array([-lean, rng.uniform(0.6, 1.0)])
    vee = rng.uniform(0.0, 0.6)
    neckline = [(-0.75, -0.1), (0, vee), (0.75, -0.1)]
    outline = [*neckline, (1.5, 0.2), (2.5, 0.6), (2.6, 3), (-2.6, 3), (-2.5, 0.6), (-1.5, 0.2)]
    cover = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(cover).polygon([tuple(collar + np.array(c) * unit) for c in outline], fill=255)
    tone, contrast = rng.uniform(0.03, 0.9), rng.uniform(0.02, 0.25)
    cloth = tone * (1 + contrast * texture("skin" if rng.random() < 0.5 else "strands", _SHAPE, rng))
    canvas.paste(to_image(cloth), (0, 0), cover)
    seam = [tuple(collar + np.array(c) * unit) for c in neckline]
    pen.line(seam, fill=int(rng.integers(256)), width=int(rng.integers(1, 5)))


def _hair_behind(canvas: Image.Image, head: Head, view: View, gain: float, rng: np.random.Generator) -> None:
    t = head.traits
    length = rng.uniform(1.1, 2.4) if t.hair_style == "long" else rng.uniform(0.6, 1.4)
    y = np.linspace(t.crown_y * 1.05, length, 14)
    half = rng.uniform(1.05, 1.3) * (1 - np.clip(y / (t.crown_y * 1.06), 0, 1) ** 2.4) ** 0.4
    half = half + 0.04 * rng.normal(size=14)
    outline = np.stack([np.r_[half, -half[::-1]], np.r_[y, y[::-1]], np.full(28, -0.25)])
    x_px, y_px, _ = view.project(outline)
    cover = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(cover).polygon(list(zip(x_px * SUPERSAMPLE, y_px * SUPERSAMPLE, strict=True)), fill=255)
    canvas.paste(to_image(t.hair * gain * 0.6 * (1 + 0.3 * texture("strands", _SHAPE, rng))), (0, 0), cover)
