"""Paint skin, features and hair of a head on a flat chart of its surface (theta across, y down).

A chart shows the half of the head that faces the camera. Soft features (blush, folds) are painted at a quarter of the
resolution and enlarged, which blurs them; sharp features on top of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

from rcn_search.data.synthetic.enlarge import enlarge_fourfold
from rcn_search.data.synthetic.head import Floats, Head
from rcn_search.data.synthetic.noise import Tones, paste_texture, texture, to_image

Point = tuple[float, float]
"""Theta, y."""
_SOFT = 4  # reduction of the layer of soft features
_BROW = np.array([0.3, 0.8, 1, 1, 0.9])[:, None] * (0, 1)  # thickness of a brow from its outer end


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A window of the surface: 190 degrees around ``center``, from above the crown to below the chin."""

    center: float
    top: float
    bottom: float
    half_angle: float = np.radians(95)
    size: int = 224

    @cached_property
    def window(self) -> tuple[float, float, float, float]:
        """Theta and y of the upper left corner, and texels in a unit of each."""
        left, width, height = float(self.center - self.half_angle), 2 * self.half_angle, self.bottom - self.top
        return left, float(self.top), float(self.size / width), float(self.size / height)

    def grid(self, num: int) -> tuple[Floats, Floats]:
        """Compute angles (1, num) and heights (num, 1) of the centers of ``num`` x ``num`` cells."""
        middles = (np.arange(num) + 0.5) / num
        theta = self.center + self.half_angle * (2 * middles - 1)
        return theta[None, :], (self.top + (self.bottom - self.top) * middles)[:, None]


def paint_chart(head: Head, chart: Chart, rng: np.random.Generator) -> Tones:
    """Paint the reflectance in [0, 1] of every texel of the chart: (size, size)."""
    return _Painter(head, chart, rng).soft_skin().features().hair().tones()


def _tone(value: float) -> int:
    return int(min(max(value, 0.0), 1.0) * 255)


class _Painter:
    """Paints in the order of its public methods."""

    def __init__(self, head: Head, chart: Chart, rng: np.random.Generator) -> None:
        self.head, self.traits, self.chart, self.rng = head, head.traits, chart, rng
        self.points: list[Point] = [(x, y) for x, y in head.landmarks.tolist()]
        self._begin(Image.new("L", (chart.size, chart.size), _tone(self.traits.skin)))

    def _begin(self, image: Image.Image) -> None:
        """Paint on this image from now on: of the size of the chart, or a reduction of it."""
        self.image, self.pen = image, ImageDraw.Draw(image)
        left, top, across, down = self.chart.window
        shrink = self.chart.size // image.width
        self.window = left, top, across / shrink, down / shrink
        self.texels = self.chart.size / (self.chart.bottom - self.chart.top) / shrink

    def _at(self, points: Iterable[Point], lower: float = 0.0) -> list[float]:
        """Convert a few points to column, row, one after the other: faster than by arrays."""
        left, top, across, down = self.window
        return [v for x, y in points for v in ((x - left) * across, (y + lower - top) * down)]

    def _polygon(self, points: Iterable[Point], tone: float) -> None:
        self.pen.polygon(self._at(points), fill=_tone(tone))

    def _line(self, points: Iterable[Point], tone: float, width: float, lower: float = 0.0) -> None:
        self.pen.line(self._at(points, lower), fill=_tone(tone), width=self._texels(width), joint="curve")

    def _texels(self, width: float) -> int:
        return max(1, round(width * self.texels))

    def _ellipse(self, center: Point, radii: Point, tone: float) -> None:
        (x, y), (a, b) = center, radii
        self.pen.ellipse(self._at([(x - a, y - b), (x + a, y + b)]), fill=_tone(tone))

    def soft_skin(self) -> _Painter:
        """Paint skin with blush, folds, eye sockets, a beard's shade and fine grain."""
        t, p = self.traits, self.points
        size = self.chart.size // _SOFT
        self._begin(Image.new("L", (size, size), _tone(t.skin)))
        for side in (-1, 1):
            self._ellipse((side * 0.6, t.nose_y - 0.1), (0.22, 0.16), t.skin * 0.95)
            socket = t.skin * (0.9 - 0.12 * t.female * self.rng.random())
            self._ellipse((side * t.eye_angle, -0.02), (0.26, 0.17), socket)
            fold = [(side * 0.24, t.nose_y + 0.05), (side * 0.38, t.mouth_y - 0.15), (side * 0.46, t.mouth_y + 0.05)]
            self._line(fold, t.skin * (0.97 - 0.2 * t.age - 0.12 * max(t.smile, 0)), 0.04)
            self._line([(side * 0.1, -0.1), (side * 0.13, t.nose_y)], t.skin * 0.93, 0.05)
        self._line([(-0.2, t.mouth_y + 0.24), (0.2, t.mouth_y + 0.24)], t.skin * 0.88, 0.05)
        self._line(p[0:17], t.skin * 0.8, 0.1, lower=0.05)
        self._line([(0, 0.0), (0, t.nose_y)], t.skin * 1.06, 0.06)
        full_size = (self.chart.size, self.chart.size)
        tones = _shares(self.image)
        grain = (0.02 + 0.03 * t.age) * texture("skin", full_size, self.rng)
        grain += 1
        tones *= grain
        if t.beard != "none":
            cover = _shares(self._beard_cover())
            hairs = t.hair * (1 + 0.35 * texture("strands", full_size, self.rng))
            tones += cover * (hairs - tones)
        self._begin(to_image(tones))
        return self

    def _beard_cover(self) -> Image.Image:
        """Paint how much of the skin the beard hides, at the size of the soft layer."""
        t, p = self.traits, self.points
        densities = {"stubble": self.rng.uniform(0.15, 0.45), "mustache": 0.8, "full": self.rng.uniform(0.6, 0.95)}
        density = densities[t.beard]
        self._begin(Image.new("L", self.image.size, 0))
        lip_top = [(1.25 * p[k][0], p[k][1]) for k in (48, 50, 52, 54)]
        nose_base = [(p[k][0] + side * 0.02, p[k][1] + 0.03) for k, side in ((35, 1), (31, -1))]
        if t.beard != "mustache":
            level = self.rng.uniform(-0.25, 0.1)
            cheeks = [p[14], (0.75, t.mouth_y + level), (0.4, t.mouth_y - 0.1 + 0.3 * level)]
            cheeks += [(-x, y) for x, y in reversed(cheeks[1:])] + [p[2]]
            low = [(1.5, self.head.chin_y), (1.5, 1.8), (-1.5, 1.8), (-1.5, self.head.chin_y)]
            self._polygon([*cheeks, *reversed(low)], density)
            self._ellipse((0, p[57][1] + 0.04), (0.12, 0.03), 0.2 * density)
        self._polygon([*lip_top, *nose_base], density)
        return self.image

    def features(self) -> _Painter:
        """Paint nostrils, wrinkles, moles, mouth, eyes and brows."""
        t, p, rng = self.traits, self.points, self.rng
        for k, side in ((32, -1), (34, 1)):
            x, y = p[k]
            self._ellipse((x + side * 0.015, y - 0.02), (0.05, 0.022), t.skin * 0.3)
        for k, side in ((31, -1), (35, 1)):
            x, y = p[k]
            self._line([(x, y - 0.1), (x + side * 0.025, y - 0.05), (x, y)], t.skin * 0.7, 0.02)
        if t.age > 0.45:
            for level in np.arange(0.12, 0.4, 0.1) + 0.03 * rng.random():
                bend = 0.03 * rng.normal()
                line = [(-0.45, t.brow_y - level + bend), (0, t.brow_y - level - 0.03), (0.45, t.brow_y - level - bend)]
                self._line(line, t.skin * (1.05 - 0.3 * t.age), 0.015)
        for _ in range(rng.poisson(1.2)):
            x, y = rng.uniform((-0.9, -0.6), (0.9, 1.3))
            self._ellipse((x, y), (0.02, 0.02), t.skin * rng.uniform(0.35, 0.8))
        self._mouth()
        for side in (0, 1):
            self._eye(side)
            self._brow(side)
        return self

    def _mouth(self) -> None:
        t, p = self.traits, self.points
        lip = t.skin * t.lip
        upper, lower = p[60:65], [p[60], *p[67:63:-1]]  # edges of the opening, from left to right
        self._polygon(p[48:60], lip)
        self._polygon(p[48:55] + upper[::-1], lip * 0.88)
        gleam = [(0.8 * x, y - 0.45 * t.lower_lip) for x, y in p[57:59]]
        self._line(gleam, lip * 1.15, 0.02)
        if t.mouth_open > 0.02:
            self._polygon(p[60:68], 0.08)
            teeth = 0.04 + 0.06 * max(t.smile, 0)
            inner = [(0.92 * x, y) for x, y in upper]
            below = [
                (min(x, x_low), min(y + teeth, y_low)) for (x, y), (x_low, y_low) in zip(inner, lower, strict=True)
            ]
            self._polygon(inner + below[::-1], 0.88)
            if t.mouth_open > 0.2:
                self._ellipse((0, p[66][1] - 0.03), (0.15, 0.05), t.skin * 0.5)
        self._line([p[48], *upper, p[54]], t.skin * 0.3, 0.02)
        self._line([p[48], *lower, p[54]], t.skin * 0.4, 0.012)

    def _eye(self, side: int) -> None:
        t, skin = self.traits, self.traits.skin
        p = (
            self.points[36:42] if side == 0 else [self.points[k] for k in (45, 44, 43, 42, 47, 46)]
        )  # outer corner first
        upper_lid, lower_lid, lash = p[:4], [p[0], p[5], p[4], p[3]], min(0.12, skin * 0.3)
        if t.eye_open[side] > 0.15:
            self._eyeball(p)
        self._line(upper_lid, lash, 0.035 if t.female else 0.022)
        (x, y), (x_inner, y_inner) = p[0], p[3]
        tip = x + (x - x_inner) * 0.12, y + ((y - y_inner) * 0.12 - 0.01)
        self._line([p[0], tip], lash, 0.02)
        self._line(lower_lid, skin * 0.6, 0.012)
        self._line(upper_lid, skin * 0.72, 0.014, lower=-0.055)  # crease
        self._line(lower_lid, skin * (0.95 - 0.15 * t.age), 0.015, lower=0.07)

    def _eyeball(self, lids: list[Point]) -> None:
        """Paint the eyeball on a copy and keep what the lids leave open."""
        t, face = self.traits, self.image
        opening = Image.new("L", face.size, 0)
        ImageDraw.Draw(opening).polygon(self._at(lids), fill=255)
        self._begin(Image.new("L", face.size, _tone(0.55 + 0.3 * t.skin)))
        x, y = (sum(values) / 6 for values in zip(*lids, strict=True))
        iris = x + t.gaze[0] * (0.6 * t.eye_half_width), y + (t.gaze[1] * 0.05 - 0.01)
        for radius, tone in ((0.085, t.iris * 0.5), (0.072, t.iris), (0.035, 0.02)):
            self._ellipse(iris, (radius, radius), tone)
        self._ellipse((iris[0] + 0.025, iris[1] - 0.03), (0.014, 0.014), 1.0)
        self._line(lids[:4], 0.35 * t.skin, 0.02, lower=0.015)  # shade of the upper lid
        eyeball = self.image
        self._begin(face)
        box = opening.getbbox()
        if box is not None:
            face.paste(eyeball.crop(box), box, opening.crop(box))

    def _brow(self, side: int) -> None:
        t = self.traits
        p = self.head.landmarks[17:22] if side == 0 else self.head.landmarks[26:21:-1]  # outer end first
        half = 0.5 * t.brow_width * _BROW
        tone = 0.75 * min(t.hair if t.hair < 0.5 else 0.6 * t.hair, t.skin) + 0.1 * t.skin
        self._polygon(np.concatenate([p - half, (p + half)[::-1]]).tolist(), tone)
        k = self.rng.integers(0, 4, 7)
        roots = p[k] + self.rng.random((7, 1)) * (p[k + 1] - p[k]) + half[k] * self.rng.uniform(-1, 1, (7, 1))
        tips = roots + 0.25 * (p[k] - p[k + 1]) - (0, 0.03)
        fill, width = _tone(0.7 * tone), self._texels(0.012)
        for hair in zip(roots.tolist(), tips.tolist(), strict=True):
            self.pen.line(self._at(hair), fill=fill, width=width)

    def hair(self) -> _Painter:
        """Paint hair (or a cap) above the hairline, with a ragged edge."""
        t, rng, canvas = self.traits, self.rng, self.image
        theta = self.chart.grid(96)[0][0]
        edge_y = self.head.hairline(theta)
        edge = list(zip(theta.tolist(), edge_y.tolist(), strict=True))
        self._begin(Image.new("L", canvas.size, 0))
        self._polygon([*edge, (edge[-1][0], -3.0), (edge[0][0], -3.0)], 1.0)
        if t.hair_style == "cap":
            tone = t.hair * 0.5 + 0.3 * rng.random()
            paste_texture(canvas, self.image, texture("skin", canvas.size, rng), lambda grain: tone + 0.08 * grain)
        else:
            for k in rng.choice(np.flatnonzero(np.abs(theta) < 0.9), 20).tolist():
                x, y = edge[k]
                drop, slant = rng.uniform(0.02, 0.12), 0.05 * rng.standard_normal()
                tuft = [(x - 0.03, y - 0.02), (x + 0.03, y - 0.02), (x + slant, y + drop)]
                self.pen.polygon(self._at(tuft), fill=255)
            strands = texture("strands", canvas.size, rng)
            paste_texture(canvas, self.image, strands, lambda grain: t.hair * (1 + 0.28 * grain))
        self._begin(canvas)
        if t.hair_style == "cap":
            self._line(edge, t.hair * 0.4, 0.05, lower=-0.03)
        return self

    def tones(self) -> Tones:
        """Return the finished chart."""
        return np.asarray(self.image, np.float32) / np.float32(255)


def _shares(soft: Image.Image) -> Tones:
    """Enlarge a soft layer to the size of the chart, in [0, 1]."""
    shares = enlarge_fourfold(np.asarray(soft)).astype(np.float32)
    shares /= 255
    return shares
