"""Light the head and draw it on the canvas, with hidden surfaces removed.

The surface is lit on a coarse grid, enlarged to the painted chart, and each texel projected onto a canvas pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.synthetic.head import Floats, Head
from rcn_search.data.synthetic.noise import Tones
from rcn_search.data.synthetic.paint import Chart, paint_chart
from rcn_search.data.synthetic.projection import View

SUPERSAMPLE = 1.25
CANVAS_PX = int(IMAGE_SIZE_PX * SUPERSAMPLE)
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

    tones: Tones  # (CANVAS_PX, CANVAS_PX)
    covered: NDArray[np.bool_]
    depth: Tones  # of the nearest surface, -inf outside the head

    def hides(self, x_px: Floats, y_px: Floats, depth: Floats, tolerance: float = 0.14) -> NDArray[np.bool_]:
        """Whether the head itself hides each of the points, given in crop pixels and depth."""
        col, row = (np.clip(v * SUPERSAMPLE, 0, CANVAS_PX - 1).astype(int) for v in (x_px, y_px))
        return np.asarray(self.depth[row, col] > depth + tolerance)


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
    shade = _shade(surface, view, light)
    x_px, y_px, depth = view.project(surface)
    layers = (x_px * SUPERSAMPLE, y_px * SUPERSAMPLE, depth, shade)
    col, row, depth_fine, shade_fine = (_enlarge(layer, chart.size) for layer in layers)
    tones *= shade_fine
    gain = (0.18 + 0.42 * traits.skin + rng.normal(0, 0.05)) / float(tones[::4, ::4].mean())  # exposed for the face
    tones *= np.float32(gain)
    tones = np.minimum(tones, np.float32(0.33) + np.float32(0.5) * tones)  # highlights saturate gently
    return _drop(col, row, depth_fine, tones), gain


def _enlarge(layer: Floats, size: int) -> Tones:
    return np.asarray(Image.fromarray(layer.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))


def _shade(surface: Floats, view: View, light: Light) -> Floats:
    """Compute the light on each cell of the coarse grid: ambient, diffuse with cast shadows, and a highlight."""
    normal = _normals(surface)
    to_light = view.rotation.T @ light.direction
    to_camera = view.rotation.T @ (0.0, 0.0, 1.0)
    middle = (to_light + to_camera) / np.linalg.norm(to_light + to_camera)
    facing = _along(to_light, normal).clip(0, 1) * _lit(surface, to_light)
    gleam = _along(middle, normal).clip(0, 1) ** 16 * facing
    sky = 0.85 - 0.15 * normal[1]  # more ambient light from above
    edge = 0.6 + 0.4 * _along(to_camera, normal).clip(0, 1)
    return np.asarray(light.ambient * sky * edge + light.strength * facing + light.shine * gleam)


def _along(axis: Floats, vectors: Floats) -> Floats:
    """Compute the component of vectors (3, n, n) along an axis (3,)."""
    return np.asarray((axis @ vectors.reshape(3, -1)).reshape(vectors.shape[1:]))


def _normals(surface: Floats) -> Floats:
    """Compute the unit normals (3, n, n) of a surface (3, n, n) by central differences."""
    across, down = np.empty_like(surface), np.empty_like(surface)
    across[:, :, 1:-1] = (surface[:, :, 2:] - surface[:, :, :-2]) * 0.5
    across[:, :, 0], across[:, :, -1] = surface[:, :, 1] - surface[:, :, 0], surface[:, :, -1] - surface[:, :, -2]
    down[:, 1:-1] = (surface[:, 2:] - surface[:, :-2]) * 0.5
    down[:, 0], down[:, -1] = surface[:, 1] - surface[:, 0], surface[:, -1] - surface[:, -2]
    (ax, ay, az), (bx, by, bz) = across, down
    normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    normal /= np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-9
    return normal


def _lit(surface: Floats, to_light: Floats) -> Floats:
    """Compute cast shadows by a small depth map seen from the light: 1 in the light, less in shadow."""
    right = np.cross(to_light, (0.0, 1.0, 0.1))
    right /= np.linalg.norm(right)
    up = np.cross(right, to_light)
    size = 44
    col, row = ((_along(axis, surface) / 4.2 + 0.5).clip(0, 0.999) * size for axis in (right, up))
    cell = row.astype(int) * size + col.astype(int)
    distance = _along(to_light, surface)
    nearest = np.full(size * size, -9.0)
    np.maximum.at(nearest, cell.ravel(), distance.ravel())
    lit = 1 - 0.7 * np.clip((nearest[cell] - distance - 0.1) / 0.15, 0, 1)
    soft: Floats = lit.copy()
    soft[1:-1, 1:-1] = (lit[1:-1, 1:-1] * 2 + lit[:-2, 1:-1] + lit[2:, 1:-1] + lit[1:-1, :-2] + lit[1:-1, 2:]) / 6
    return soft


def _drop(col: Tones, row: Tones, depth: Tones, tones: Tones) -> Rendered:
    """Project texels onto pixels and keep the nearest: the maximum of integers, depth in upper bits, tone in lower."""
    side = CANVAS_PX + 2  # with a border for texels outside
    last = np.float32(side - 1)
    pixel = (row + 1).clip(0, last).astype(np.intp) * side + (col + 1).clip(0, last).astype(np.intp)
    packed = ((depth + _DEPTH_RANGE) * (2**15 / _DEPTH_RANGE)).astype(np.uint32) << 16
    packed |= np.minimum(tones * 2**15, 2**16 - 1).astype(np.uint32)
    flat = np.zeros(side * side, np.uint32)
    np.maximum.at(flat, pixel.ravel(), packed.ravel())
    canvas = flat.reshape(side, side)[1:-1, 1:-1]
    for _ in range(2):  # close the pinholes where the surface is stretched
        canvas[:, 1:-1] = np.where(canvas[:, 1:-1] == 0, np.minimum(canvas[:, :-2], canvas[:, 2:]), canvas[:, 1:-1])
        canvas[1:-1] = np.where(canvas[1:-1] == 0, np.minimum(canvas[:-2], canvas[2:]), canvas[1:-1])
    covered = canvas > 0
    depth_map = ((canvas >> 16).astype(np.float32) / 2**15 - 1) * _DEPTH_RANGE
    return Rendered(
        tones=(canvas & 0xFFFF).astype(np.float32) / np.float32(2**15),
        covered=covered,
        depth=np.where(covered, depth_map, -np.inf).astype(np.float32),
    )
