"""Light the head and draw it on the canvas, with hidden surfaces removed.

The surface is lit on a coarse grid, enlarged to the painted chart, and each texel projected onto a canvas pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.synthetic.enlarge import enlarge
from rcn_search.data.synthetic.head import Floats, Head
from rcn_search.data.synthetic.noise import Tones
from rcn_search.data.synthetic.paint import Chart, paint_chart
from rcn_search.data.synthetic.projection import View

SUPERSAMPLE = 1.25
CANVAS_PX = int(IMAGE_SIZE_PX * SUPERSAMPLE)
_BORDERED_PX = CANVAS_PX + 2
_COARSE = 60
_DEPTH_RANGE = 2.2  # no point of a head lies farther from its center along the line of sight


@dataclass(frozen=True, kw_only=True)
class Light:
    """A directional light and ambient light."""

    direction: Floats  # (3,) unit, from the head to the light, in camera axes
    ambient: float
    strength: float
    shine: float


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Head on the canvas, without background."""

    nearest: NDArray[np.uint32]  # (CANVAS_PX, CANVAS_PX): depth of the nearest surface above its tone; 0 outside

    @cached_property
    def tones(self) -> Tones:
        """Tones (CANVAS_PX, CANVAS_PX)."""
        return (self.nearest & 0xFFFF).astype(np.float32) / np.float32(2**15)

    @cached_property
    def pixels(self) -> Image.Image:
        """Picture of the tones in 8 bits."""
        levels = (self.nearest & 0xFFFF).view(np.int32).astype(np.float32)
        levels *= 255 / 2**15  # exact
        return Image.fromarray(np.minimum(levels, 255, out=levels).astype(np.uint8))

    @cached_property
    def cover(self) -> Image.Image:
        """Mask of the head: 255 where it is."""
        return Image.fromarray((self.nearest != 0).view(np.uint8) * np.uint8(255))

    @property
    def depth(self) -> Tones:
        """Depth (CANVAS_PX, CANVAS_PX) of the nearest surface, -inf outside the head."""
        return _depth(self.nearest)

    def hides(self, x_px: Floats, y_px: Floats, depth: Floats, tolerance: float = 0.14) -> NDArray[np.bool_]:
        """Whether the head itself hides each of the points, given in crop pixels and depth."""
        col, row = (np.clip(v * SUPERSAMPLE, 0, CANVAS_PX - 1).astype(int) for v in (x_px, y_px))
        return np.asarray(_depth(self.nearest[row, col]) > depth + tolerance)


def _depth(nearest: NDArray[np.uint32]) -> Tones:
    depth = ((nearest >> 16).astype(np.float32) / 2**15 - 1) * _DEPTH_RANGE
    return np.where(nearest > 0, depth, np.float32(-np.inf))


def random_light(rng: np.random.Generator, variety: float = 1.0) -> Light:
    """Choose a light, mostly from above and in front; sometimes hard from one side, from below or from behind."""
    direction = np.array([rng.normal(0, 0.7 * variety), -0.5 + rng.normal(0, 0.5 * variety), rng.uniform(0.15, 1.2)])
    ambient = rng.uniform(0.25, 0.7)
    return Light(
        direction=direction / np.linalg.norm(direction),
        ambient=ambient,
        strength=rng.uniform(0.9, 1.25) - ambient,
        shine=rng.uniform(0, 0.3),
    )


def render_head(head: Head, view: View, light: Light, rng: np.random.Generator) -> tuple[Rendered, float]:
    """Paint, light and project the head; return also its exposure, a factor of all tones."""
    traits = head.traits
    chart = Chart(center=-np.radians(traits.yaw_deg), top=traits.crown_y * 0.995, bottom=head.chin_y * 0.998)
    tones = paint_chart(head, chart, rng)
    surface = head.surface(*chart.grid(_COARSE))
    x_px, y_px, depth = view.project(surface)
    layers = np.empty((4, _COARSE, _COARSE), np.float32)
    layers[0], layers[1] = x_px * SUPERSAMPLE, y_px * SUPERSAMPLE
    layers[2], layers[3] = depth, _shade(surface, view, light)
    col, row, depth_fine, shade_fine = enlarge(layers, chart.size)
    tones *= shade_fine
    gain = (0.18 + 0.42 * traits.skin + rng.normal(0, 0.05)) / float(tones[::4, ::4].mean())  # exposed for the face
    tones *= np.float32(gain)
    np.minimum(tones, 0.33 + 0.5 * tones, out=tones)  # highlights saturate gently
    return _drop(col, row, depth_fine, tones), gain


def _shade(surface: Floats, view: View, light: Light) -> Floats:
    """Compute the light on each cell of the coarse grid: ambient, diffuse with cast shadows, and a highlight."""
    normal = _normals(surface)
    to_light, to_camera = view.rotation.T @ light.direction, view.rotation[2]
    middle = (to_light + to_camera) / np.linalg.norm(to_light + to_camera)
    facing = _along(to_light, normal).clip(0, 1) * _lit(surface, to_light)
    gleam = _along(middle, normal).clip(0, 1)
    for _ in range(4):
        gleam *= gleam  # to the power of 16
    gleam *= facing
    sky = 0.85 - 0.15 * normal[1]  # more ambient light from above
    edge = 0.6 + 0.4 * _along(to_camera, normal).clip(0, 1)
    return np.asarray(light.ambient * sky * edge + light.strength * facing + light.shine * gleam)


def _along(axis: Floats, vectors: Floats) -> Floats:
    """Compute the component of vectors (3, n, n) along an axis (3,)."""
    return np.asarray((axis @ vectors.reshape(3, -1)).reshape(vectors.shape[1:]))


def _normals(surface: Floats) -> Floats:
    """Compute the unit normals (3, n, n) of a surface (3, n, n) by central differences."""
    across, down, normal = np.empty_like(surface), np.empty_like(surface), np.empty_like(surface)
    np.subtract(surface[:, :, 2:], surface[:, :, :-2], out=across[:, :, 1:-1])
    across[:, :, 1:-1] *= 0.5
    across[:, :, 0], across[:, :, -1] = surface[:, :, 1] - surface[:, :, 0], surface[:, :, -1] - surface[:, :, -2]
    np.subtract(surface[:, 2:], surface[:, :-2], out=down[:, 1:-1])
    down[:, 1:-1] *= 0.5
    down[:, 0], down[:, -1] = surface[:, 1] - surface[:, 0], surface[:, -1] - surface[:, -2]
    (ax, ay, az), (bx, by, bz) = across, down
    normal[0], normal[1], normal[2] = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    x2, y2, z2 = normal**2
    normal /= np.sqrt(x2 + y2 + z2) + 1e-9
    return normal


def _lit(surface: Floats, to_light: Floats) -> Floats:
    """Compute cast shadows by a small depth map seen from the light: 1 in the light, less in shadow."""
    x, y, z = to_light.tolist()
    length = math.sqrt((y * 0.1 - z) ** 2 + (x * 0.1) ** 2 + x**2)
    a, b, c = (y * 0.1 - z) / length, -x * 0.1 / length, x / length  # across the light and nearly the vertical
    right, up = np.array([a, b, c]), np.array([b * z - c * y, c * x - a * z, a * y - b * x])
    size = 44
    col, row = ((_along(axis, surface) / 4.2 + 0.5).clip(0, 0.999) * size for axis in (right, up))
    cell = row.astype(int) * size + col.astype(int)
    distance = _along(to_light, surface)
    nearest = np.full(size * size, -9.0)
    np.maximum.at(nearest, cell.ravel(), distance.ravel())
    lit = 1 - 0.7 * ((nearest[cell] - distance - 0.1) / 0.15).clip(0, 1)
    soft: Floats = lit.copy()
    soft[1:-1, 1:-1] = (lit[1:-1, 1:-1] * 2 + lit[:-2, 1:-1] + lit[2:, 1:-1] + lit[1:-1, :-2] + lit[1:-1, 2:]) / 6
    return soft


def _drop(col: Tones, row: Tones, depth: Tones, tones: Tones) -> Rendered:
    """Project texels onto pixels and keep the nearest: the maximum of integers, depth in upper bits, tone in lower."""
    last = _BORDERED_PX - 1
    row_above, col_left = ((v + 1).clip(0, last).astype(np.int32) for v in (row, col))  # texels outside: on the border
    pixel = (row_above * _BORDERED_PX + col_left).astype(np.intp)
    packed = ((depth + _DEPTH_RANGE) * (2**15 / _DEPTH_RANGE)).astype(np.int32).view(np.uint32) << 16
    packed |= np.minimum(tones * 2**15, 2**16 - 1).astype(np.int32).view(np.uint32)
    flat = np.zeros(_BORDERED_PX**2, np.uint32)
    np.maximum.at(flat, pixel.ravel(), packed.ravel())
    square = flat.reshape(_BORDERED_PX, _BORDERED_PX)
    square[0] = square[-1] = square[:, 0] = square[:, -1] = 0
    covered = flat != 0
    for step in (
        1,
        _BORDERED_PX,
        1,
        _BORDERED_PX,
    ):  # close pinholes, between two pixels, where the surface is stretched
        enclosed = covered[: -2 * step] & covered[2 * step :]
        holes = np.flatnonzero(enclosed > covered[step:-step]) + step
        flat[holes] = np.minimum(flat[holes - step], flat[holes + step])
        covered[holes] = True
    return Rendered(nearest=square[1:-1, 1:-1].copy())
