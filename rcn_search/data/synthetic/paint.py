"""Paint skin, features and hair of a head on a flat chart of its surface (theta across, y down).

A chart shows the half of the head that faces the camera. Soft features (blush, folds) are painted at a quarter of the
resolution and enlarged, which blurs them; sharp features on top of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

from rcn_search.data.synthetic.head import Floats, Head
from rcn_search.data.synthetic.noise import Tones, texture, to_image

Points = Floats | Sequence[Iterable[float]]
"""A few points theta, y."""
_SOFT = 4  # reduction of the layer of soft features


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


def _lower(points: Floats, distance: float) -> Floats:
    return np.asarray(points + np.array([0.0, distance]))


class _Painter:
    """Paints in the order of its public methods."""

    def __init__(self, head: Head, chart: Chart, rng: np.random.Generator) -> None:
        self.head, self.traits, self.chart, self.rng = head, head.traits, chart, rng
        self.points = head.landmarks
        self.image = Image.new("L", (chart.size, chart.size), _tone(self.traits.skin))
        self.pen = ImageDraw.Draw(self.image)
        self.shrink = 1

    def _at(self, points: Points) -> list[float]:
        """Convert a few points theta, y to column, row, one after the other: faster than by arrays."""
        left, top, across, down = self.chart.window
        shrink = self.shrink
        if isinstance(points, np.ndarray):
            points = points.tolist()
        return [v for x, y in points for v in ((x - left) * across / shrink, (y - top) * down / shrink)]

    def _polygon(self, points: Points, tone: float) -> None:
        self.pen.polygon(self._at(points), fill=_tone(tone))

    def _line(self, points: Points, tone: float, width: float) -> None:
        texels = width * self.chart.size / (self.chart.bottom - self.chart.top) / self.shrink
        self.pen.line(self._at(points), fill=_tone(tone), width=max(1, round(texels)), joint="curve")

    def _ellipse(self, center: Iterable[float], radii: tuple[float, float], tone: float) -> None:
        (x, y), (a, b) = center, radii
        self.pen.ellipse(self._at([(x - a, y - b), (x + a, y + b)]), fill=_tone(tone))

    def soft_skin(self) -> _Painter:
        """Paint skin with blush, folds, eye sockets, a beard's shade and fine grain."""
        t, p = self.traits, self.points
        size = self.chart.size // _SOFT
        self.image, self.shrink = Image.new("L", (size, size), _tone(t.skin)), _SOFT
        self.pen = ImageDraw.Draw(self.image)
        for side in (-1, 1):
            self._ellipse((side * 0.6, t.nose_y - 0.1), (0.22, 0.16), t.skin * 0.95)
            socket = t.skin * (0.9 - 0.12 * t.female * self.rng.random())
            self._ellipse((side * t.eye_angle, -0.02), (0.26, 0.17), socket)
            fold = [(side * 0.24, t.nose_y + 0.05), (side * 0.38, t.mouth_y - 0.15), (side * 0.46, t.mouth_y + 0.05)]
            self._line(fold, t.skin * (0.97 - 0.2 * t.age - 0.12 * max(t.smile, 0)), 0.04)
            self._line([(side * 0.1, -0.1), (side * 0.13, t.nose_y)], t.skin * 0.93, 0.05)
        self._line([(-0.2, t.mouth_y + 0.24), (0.2, t.mouth_y + 0.24)], t.skin * 0.88, 0.05)
        self._line(_lower(p[0:17], 0.05), t.skin * 0.8, 0.1)
        self._line([(0, 0.0), (0, t.nose_y)], t.skin * 1.06, 0.06)
        full_size = (self.chart.size, self.chart.size)
        tones = np.asarray(self.image.resize(full_size, Image.Resampling.BILINEAR), np.float32) / 255
        tones *= 1 + (0.02 + 0.03 * t.age) * texture("skin", full_size, self.rng)
        if t.beard != "none":
            cover = self._beard_cover().resize(full_size, Image.Resampling.BILINEAR)
            hairs = t.hair * (1 + 0.35 * texture("strands", full_size, self.rng))
            tones += np.asarray(cover, np.float32) / 255 * (hairs - tones)
        self.image, self.shrink = to_image(tones), 1
        self.pen = ImageDraw.Draw(self.image)
        return self

    def _beard_cover(self) -> Image.Image:
        """Paint how much of the skin the beard hides, at the size of the soft layer."""
        t, p = self.traits, self.points
        densities = {"stubble": self.rng.uniform(0.15, 0.45), "mustache": 0.8, "full": self.rng.uniform(0.6, 0.95)}
        density = densities[t.beard]
        self.image = Image.new("L", self.image.size, 0)
        self.pen = ImageDraw.Draw(self.image)
        lip_top, nose_base = p[[48, 50, 52, 54]] * (1.25, 1), p[[35, 31]] + [(0.02, 0.03), (-0.02, 0.03)]
        if t.beard != "mustache":
            level = self.rng.uniform(-0.25, 0.1)
            cheeks = [p[14], (0.75, t.mouth_y + level), (0.4, t.mouth_y - 0.1 + 0.3 * level)]
            cheeks += [(-x, y) for x, y in reversed(cheeks[1:])] + [p[2]]
            low = [(1.5, self.head.chin_y), (1.5, 1.8), (-1.5, 1.8), (-1.5, self.head.chin_y)]
            self._polygon([*cheeks, *reversed(low)], density)
            self._ellipse((0, p[57, 1] + 0.04), (0.12, 0.03), 0.2 * density)
        self._polygon([*lip_top, *nose_base], density)
        return self.image

    def features(self) -> _Painter:
        """Paint nostrils, wrinkles, moles, mouth, eyes and brows."""
        t, p, rng = self.traits, self.points, self.rng
        for k, side in ((32, -1), (34, 1)):
            self._ellipse(p[k] + (side * 0.015, -0.02), (0.05, 0.022), t.skin * 0.3)
        for k, side in ((31, -1), (35, 1)):
            self._line([p[k] + (0, -0.1), p[k] + (side * 0.025, -0.05), p[k]], t.skin * 0.7, 0.02)
        if t.age > 0.45:
            for level in np.arange(0.12, 0.4, 0.1) + 0.03 * rng.random():
                bend = 0.03 * rng.normal()
                line = [(-0.45, t.brow_y - level + bend), (0, t.brow_y - level - 0.03), (0.45, t.brow_y - level - bend)]
                self._line(line, t.skin * (1.05 - 0.3 * t.age), 0.015)
        for _ in range(rng.poisson(1.2)):
            mole = rng.uniform((-0.9, -0.6), (0.9, 1.3))
            self._ellipse(mole, (0.02, 0.02), t.skin * rng.uniform(0.35, 0.8))
        self._mouth()
        for side in (0, 1):
            self._eye(side)
            self._brow(side)
        return self

    def _mouth(self) -> None:
        t, p = self.traits, self.points
        lip = t.skin * t.lip
        self._polygon(p[48:60], lip)
        self._polygon(p[[48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60]], lip * 0.88)
        self._line(p[57:59] * (0.8, 1) - (0, 0.45 * t.lower_lip), lip * 1.15, 0.02)  # the gleam of the lower lip
        if t.mouth_open > 0.02:
            self._polygon(p[60:68], 0.08)
            teeth = 0.04 + 0.06 * max(t.smile, 0)
            inner = p[[60, 61, 62, 63, 64]] * (0.92, 1)
            below = np.minimum(_lower(inner, teeth), p[[60, 67, 66, 65, 64]])
            self._polygon([*inner, *below[::-1]], 0.88)
            if t.mouth_open > 0.2:
                self._ellipse((0, p[66, 1] - 0.03), (0.15, 0.05), t.skin * 0.5)
        self._line(p[[48, 60, 61, 62, 63, 64, 54]], t.skin * 0.3, 0.02)
        self._line(p[[48, 60, 67, 66, 65, 64, 54]], t.skin * 0.4, 0.012)

    def _eye(self, side: int) -> None:
        t, skin = self.traits, self.traits.skin
        p = self.points[36:42] if side == 0 else self.points[[45, 44, 43, 42, 47, 46]]  # outer corner first
        center, lash = p.mean(axis=0), min(0.12, skin * 0.3)
        if t.eye_open[side] > 0.15:
            # Paint the eyeball on a copy and keep what the lids leave open.
            lids = Image.new("L", self.image.size, 0)
            ImageDraw.Draw(lids).polygon(self._at(p), fill=255)
            bare, self.image = self.image, Image.new("L", self.image.size, _tone(0.55 + 0.3 * skin))
            self.pen = ImageDraw.Draw(self.image)
            iris = center + np.array(t.gaze) * (0.6 * t.eye_half_width, 0.05) - (0, 0.01)
            for radius, tone in ((0.085, t.iris * 0.5), (0.072, t.iris), (0.035, 0.02)):
                self._ellipse(iris, (radius, radius), tone)
            self._ellipse((iris[0] + 0.025, iris[1] - 0.03), (0.014, 0.014), 1.0)
            self._line(_lower(p[:4], 0.015), 0.35 * skin, 0.02)  # shade of the upper lid
            bare.paste(self.image, (0, 0), lids)
            self.image, self.pen = bare, ImageDraw.Draw(bare)
        self._line(p[:4], lash, 0.035 if t.female else 0.022)
        outer = (p[0] - p[3]) * 0.12
        self._line([p[0], p[0] + outer + (0, -0.01)], lash, 0.02)
        self._line(p[[0, 5, 4, 3]], skin * 0.6, 0.012)
        self._line(_lower(p[:4], -0.055), skin * 0.72, 0.014)  # crease
        self._line(_lower(p[[0, 5, 4, 3]], 0.07), skin * (0.95 - 0.15 * t.age), 0.015)

    def _brow(self, side: int) -> None:
        t = self.traits
        p = self.points[17:22] if side == 0 else self.points[26:21:-1]  # outer end first
        half = 0.5 * t.brow_width * np.array([0.3, 0.8, 1, 1, 0.9])[:, None] * (0, 1)
        tone = 0.75 * min(t.hair if t.hair < 0.5 else 0.6 * t.hair, t.skin) + 0.1 * t.skin
        self._polygon([*(p - half), *(p + half)[::-1]], tone)
        k = self.rng.integers(0, 4, 7)
        roots = p[k] + self.rng.random((7, 1)) * (p[k + 1] - p[k]) + half[k] * self.rng.uniform(-1, 1, (7, 1))
        tips = roots + 0.25 * (p[k] - p[k + 1]) - (0, 0.03)
        for hair in zip(roots.tolist(), tips.tolist(), strict=True):
            self._line(hair, 0.7 * tone, 0.012)

    def hair(self) -> _Painter:
        """Paint hair (or a cap) above the hairline, with a ragged edge."""
        t, rng, full_size = self.traits, self.rng, self.image.size
        theta = self.chart.grid(96)[0][0]
        edge = np.stack([theta, self.head.hairline(theta)], axis=1)
        cover = Image.new("L", full_size, 0)
        canvas, self.image, self.pen = self.image, cover, ImageDraw.Draw(cover)
        self._polygon([*edge, (theta[-1], -3.0), (theta[0], -3.0)], 1.0)
        if t.hair_style == "cap":
            tones = t.hair * 0.5 + 0.3 * rng.random() + 0.08 * texture("skin", full_size, rng)
        else:
            near = edge[rng.choice(np.flatnonzero(np.abs(theta) < 0.9), 20)].tolist()
            for x, y in near:
                drop, slant = rng.uniform(0.02, 0.12), rng.normal(0, 0.05)
                self._polygon([(x - 0.03, y - 0.02), (x + 0.03, y - 0.02), (x + slant, y + drop)], 1.0)
            tones = t.hair * (1 + 0.28 * texture("strands", full_size, rng))
        canvas.paste(to_image(tones), (0, 0), cover)
        self.image, self.pen = canvas, ImageDraw.Draw(canvas)
        if t.hair_style == "cap":
            self._line(_lower(edge, -0.03), t.hair * 0.4, 0.05)
        return self

    def tones(self) -> Tones:
        """Return the finished chart."""
        return np.asarray(self.image, np.float32) / np.float32(255)
