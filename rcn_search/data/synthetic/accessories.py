"""Draw what is in front of the face: glasses and occluders, each with a mask under which points are not visible."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from rcn_search.data.synthetic.head import Floats, Head
from rcn_search.data.synthetic.noise import Tones, paste_texture, texture
from rcn_search.data.synthetic.projection import View
from rcn_search.data.synthetic.render import CANVAS_PX, SUPERSAMPLE, Rendered
from rcn_search.data.synthetic.traits import choose

_SHAPE = (CANVAS_PX, CANVAS_PX)
_Painted = tuple[Image.Image, Tones, Callable[[Tones], Tones]]
"""Mask of an occluder, a texture, and its tones as a function of that."""


def _blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    mask = Image.new("L", _SHAPE, 0)
    return mask, ImageDraw.Draw(mask)


def _flat(points: Floats) -> list[float]:
    flat: list[float] = np.asarray(points, float).ravel().tolist()
    return flat


def wear_glasses(
    canvas: Image.Image, head: Head, view: View, rendered: Rendered, rng: np.random.Generator
) -> Image.Image:
    """Draw the person's glasses, if any; return the mask of what they hide, empty unless the lenses are dark."""
    t = head.traits
    hidden, hidden_pen = _blank()
    if t.glasses == "none":
        return hidden
    x_eye, _, z_eye = head.surface(np.array([t.eye_angle]), np.array([0.0]))[:, 0].tolist()
    half_w, half_h = rng.uniform(0.24, 0.34), rng.uniform(0.15, 0.26)
    square = rng.uniform(0.6, 1.0)  # exponent of the outline: 1 an ellipse, less a rounded rectangle
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    outline_x, outline_y = (np.sign(f(turn)) * np.abs(f(turn)) ** square for f in (np.cos, np.sin))
    rim_px, tone = int(rng.integers(2, 7)) if t.glasses == "clear" else 3, int(rng.choice([15, 40, 90, 200]))
    lens_tone, opacity = int(rng.integers(5, 60)), rng.uniform(0.8, 1.0)
    drawn, drawn_pen = _blank()  # mask of the drawn glasses
    tones = canvas.copy()
    pen = ImageDraw.Draw(tones)

    def project(x: Floats, y: Floats, z: Floats) -> list[float]:
        x_px, y_px, _ = view.project(np.stack([x, y, z]))
        return _flat(np.stack([x_px, y_px], axis=1) * SUPERSAMPLE)

    bridge = np.array([-1.0, 0.0, 1.0])
    bridge_y = 0.02 - 0.05 * (1 - np.abs(bridge))
    span = project(bridge * (x_eye - half_w + 0.04), bridge_y, np.full(3, z_eye + 0.2))
    for side in (-1, 1):
        x = side * (x_eye + 0.02 + half_w * outline_x)
        rim = project(x, 0.05 + half_h * outline_y, z_eye + 0.16 - 0.25 * np.abs(x) ** 2)
        if t.glasses == "dark":
            pen.polygon(rim, fill=lens_tone)
            drawn_pen.polygon(rim, fill=int(255 * opacity))
            hidden_pen.polygon(rim, fill=255)
        elif rng.random() < 0.3:
            glare = np.reshape(rim, (-1, 2))[rng.integers(24) + np.array([0, 3, 11, 14]) - 24]
            pen.polygon(_flat(glare), fill=240)
            drawn_pen.polygon(_flat(glare), fill=int(rng.integers(60, 200)))
        arm: list[float] = []
        if side * t.yaw_deg < 10:  # the temple arm on the visible side
            arm_x, arm_z = np.array([x_eye + 0.02 + half_w, 1.04]), np.array([z_eye - 0.1, -0.1])
            arm = project(side * arm_x, np.array([0.0, -0.05]), arm_z)
        for target, fill in ((pen, tone), (drawn_pen, 255)):
            target.line(rim + rim[:4], fill=fill, width=rim_px, joint="curve")
            if arm:
                target.line(arm, fill=fill, width=rim_px)
            target.line(span, fill=fill, width=rim_px)
    *_, depth = view.project(np.array([0.0, 0.05, z_eye + 0.16]))
    behind = rendered.depth > depth + 0.1  # the nose of a turned head hides the far lens
    for mask in (drawn, hidden):
        mask.paste(0, (0, 0), Image.fromarray(behind.view(np.uint8) * np.uint8(255)))
    box = drawn.getbbox()
    if box is not None:
        canvas.paste(tones.crop(box), box, drawn.crop(box))
    return hidden


def _hand(points: Floats, unit: float, skin: float, rng: np.random.Generator) -> _Painted:
    """Draw fingers from below or beside, over mouth, chin or cheek."""
    mask, pen = _blank()
    tip = points[rng.choice([2, 8, 14, 48, 54, 57])] + rng.normal(0, 0.25, 2) * unit
    towards = tip + unit * np.array([rng.normal(0, 1.5), rng.uniform(0.8, 1.8)])
    along = (towards - tip) / np.hypot(*(towards - tip))
    across = np.array([-along[1], along[0]])
    tones = skin * (0.8 + 0.05 * texture("skin", _SHAPE, rng))
    shadow = Image.new("L", _SHAPE, 255)
    shadow_pen = ImageDraw.Draw(shadow)
    width = 0.21 * unit
    for k, reach in enumerate((-0.1, 0.1, 0.06, -0.12)):
        start = tip + across * (k - 1.5) * width * 1.05 - along * reach * unit
        end = tip + along * 0.7 * unit + across * (k - 1.5) * width
        pen.line(_flat(np.array([start, end])), fill=255, width=int(width))
        pen.ellipse(_flat(np.array([start - width / 2, start + width / 2])), fill=255)
        shadow_pen.line(_flat(np.array([start, end]) + across * width / 2), fill=150, width=max(2, int(width / 6)))
    palm = [tip + along * 0.55 * unit + across * s * 2.15 * width for s in (-1, 1)]
    pen.polygon(_flat(np.array([*palm, *(p + along * 3 * unit for p in reversed(palm))])), fill=255)
    shaded = np.asarray(tones * np.asarray(shadow, np.float32) / 255, np.float32)
    return mask, shaded, lambda tones: tones


def _scarf(points: Floats, unit: float, skin: float, rng: np.random.Generator) -> _Painted:
    """Draw cloth over chin and mouth, sometimes up to the nose."""
    mask, pen = _blank()
    level = points[rng.choice([33, 51, 57, 8])]
    slope = points[14] - points[2]
    slope = slope / np.hypot(*slope)
    waves = np.stack([np.linspace(-3, 3, 13), 0.08 * rng.normal(size=13)], axis=1)
    edge = level + unit * (waves[:, :1] * slope + waves[:, 1:] * np.array([0, 1]))
    pen.polygon([*_flat(edge), CANVAS_PX * 2, CANVAS_PX * 2, -CANVAS_PX, CANVAS_PX * 2], fill=255)
    tone, contrast = rng.uniform(0.1, 0.85), rng.uniform(0.1, 0.4)
    return mask, texture("skin", _SHAPE, rng), lambda grain: tone * (1 + contrast * grain)


def _strand(points: Floats, unit: float, skin: float, rng: np.random.Generator) -> _Painted:
    """Draw locks of hair from the forehead over an eye."""
    mask, pen = _blank()
    eye = points[36:48].reshape(2, 6, 2).mean(axis=1)[rng.integers(2)]
    root = eye + unit * np.array([rng.normal(0, 0.4), -1.2])
    sway = np.sin(np.linspace(0, np.pi, 9))[:, None] * (rng.normal(0, 0.4) * unit, 0)
    for _ in range(rng.integers(2, 7)):
        lock = np.linspace(root, eye + rng.normal(0, 0.3, 2) * unit + (0, 0.4 * unit), 9) + sway * rng.uniform(0.5, 1.5)
        pen.line(_flat(lock), fill=255, width=int(rng.uniform(0.04, 0.14) * unit) + 1, joint="curve")
    tone = rng.uniform(0.05, 0.7)
    return mask, texture("strands", _SHAPE, rng), lambda grain: tone * (1 + 0.25 * grain)


def _microphone(points: Floats, unit: float, skin: float, rng: np.random.Generator) -> _Painted:
    mask, pen = _blank()
    ball = points[57] + unit * rng.normal((0, 0.2), 0.25)
    radius = rng.uniform(0.2, 0.32) * unit
    foot = ball + unit * np.array([rng.normal(0, 1), 3.0])
    pen.line(_flat(np.array([ball, foot])), fill=255, width=int(1.2 * radius))
    pen.ellipse(_flat(np.array([ball - radius, ball + radius])), fill=255)
    return mask, texture("skin", _SHAPE, rng), lambda grain: 0.15 + 0.1 * grain


def _thing(points: Floats, unit: float, skin: float, rng: np.random.Generator) -> _Painted:
    """Draw any object: a ragged blob or a card, anywhere over the face."""
    mask, pen = _blank()
    center = points[rng.integers(68)] + rng.normal(0, 0.2, 2) * unit
    num = int(rng.choice([4, 9]))
    turn = rng.uniform(0, 6.3) + np.linspace(0, 2 * np.pi, num, endpoint=False)
    radius = rng.uniform(0.25, 0.6) * unit * (1 + 0.25 * rng.normal(size=num) * (num > 4))
    pen.polygon(_flat(center + np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius[:, None]), fill=255)
    kind = str(rng.choice(["skin", "cloud", "strands", "white"]))
    tone, contrast = rng.uniform(0.0, 1.0), rng.uniform(0.02, 0.4)
    return mask, texture(kind, _SHAPE, rng), lambda grain: tone + contrast * grain


_Occluder = Callable[[Floats, float, float, np.random.Generator], _Painted]
_OCCLUDERS: tuple[_Occluder, ...] = (_hand, _scarf, _strand, _microphone, _thing)


def occlude(
    canvas: Image.Image, points_px: Floats, scale_px: float, skin: float, rng: np.random.Generator, share: float = 1.0
) -> Image.Image:
    """Draw up to two occluders, most often none; return the mask of what they hide.

    ``share`` of faces with occluders is relative to 42 %.
    """
    hidden, _ = _blank()
    for _ in range(choose(rng, [1 - 0.42 * share, 0.34 * share, 0.08 * share])):
        draw = _OCCLUDERS[choose(rng, [0.25, 0.1, 0.2, 0.1, 0.35])]
        mask, grain, tones = draw(points_px * SUPERSAMPLE, scale_px * SUPERSAMPLE, skin, rng)
        paste_texture(canvas, mask, grain, tones)
        hidden.paste(255, (0, 0), mask)
    return hidden
