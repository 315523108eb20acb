"""Shape of a head, and the 68 points on it.

The surface is described by an angle ``theta`` around the vertical axis (0 at the midline of the face, positive to the
right of the image) and a height ``y`` (0 at the eyes, positive down): an egg with a squarish section, plus smooth
bumps. Features have these surface coordinates, so that picture and labels always agree.

Axes: x right, y down, z towards the camera; unit half the width of the head.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.synthetic.traits import Traits
from rcn_search.keypoints import IBUG68

Floats = NDArray[np.float64]

# Points on the image-left half and on the midline; the right half is the left one, flipped.
_LEFT = (*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67)
_MIDLINE = (8, 27, 28, 29, 30, 33, 51, 57, 62, 66)

_HAIRLINES = {"short": (-0.9, 0.1, 0.9), "fringe": (-0.5, 0.2, 1.0), "long": (-0.8, 2.2, 2.2)}  # front, temple, nape


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    """Interpolate smoothly from 0 below ``low`` to 1 above ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: Floats, center: float, width: float) -> Floats:
    return np.exp(-0.5 * ((x - center) / width) ** 2)


def _both_sides(theta: Floats, center: float, width: float) -> Floats:
    return _bump(np.abs(theta), center, width)


class Head:
    """Head of one person in one expression."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.chin_y = traits.chin_y + 0.7 * traits.mouth_open  # an opening mouth drops the jaw
        self._hair_waves = np.random.default_rng(traits.hair_seed).normal(0, 1, 5)

    def surface(self, theta: Floats, y: Floats) -> Floats:
        """Compute points (3, ...) of the surface: x, y, z. Angles and heights are broadcast."""
        t = self.traits
        lower, upper = np.clip(y / self.chin_y, 0, 1), np.clip(y / t.crown_y, 0, 1)
        half_width = (1 - lower**t.jaw_power) ** (1 / t.jaw_power) * (1 - upper**2.4) ** (1 / 2.4)
        half_depth = (1 - lower**7) ** (1 / 7) * (1 - upper**2.7) ** (1 / 2.7)
        sin, cos = np.sin(theta), np.cos(theta)
        section = (np.abs(sin) ** 2.5 + np.abs(cos) ** 2.5) ** (-1 / 2.5)  # squarer than an ellipse: a flat front
        bumps = self._face_bumps(theta, y) + 0.1 * self.hair_cover(theta, y)
        x = (half_width * section + bumps) * sin
        z = (half_depth * section * np.where(cos > 0, t.depth, 1.2) + bumps) * cos
        return np.stack([x, np.broadcast_to(y, x.shape), z])

    def _face_bumps(self, theta: Floats, y: Floats) -> Floats:
        t = self.traits
        along = np.clip((y + 0.12) / (t.nose_y + 0.12), 0, 1)
        nose = t.nose_height * along**1.2 * (1 - smoothstep(t.nose_y + 0.01, t.nose_y + 0.17, y))
        wing = 0.16 * t.nose_width
        bumps = nose * np.exp(-0.5 * (theta / ((0.07 + 0.07 * along) * t.nose_width)) ** 2)
        bumps = bumps + 0.1 * _both_sides(theta, wing, 0.06) * _bump(y, t.nose_y + 0.03, 0.07)
        bumps += _both_sides(theta, t.eye_angle - 0.03, 0.17) * (-0.13 * _bump(y, 0.0, 0.13))  # sockets
        bumps += _both_sides(theta, t.eye_angle, 0.12) * (0.06 * _bump(y, 0.0, 0.08))  # eyeballs
        bumps += _both_sides(theta, t.eye_angle, 0.25) * (0.05 * _bump(y, t.brow_y, 0.09))
        bumps += _both_sides(theta, 0.62, 0.25) * (0.07 * _bump(y, 0.38, 0.16))  # cheekbones
        bumps += _both_sides(theta, 0.45, 0.15) * (0.07 * max(t.smile, 0.0) * _bump(y, t.nose_y + 0.05, 0.15))
        bumps += _bump(theta, 0.0, 0.26) * (0.07 * _bump(y, t.mouth_y, 0.13))
        bumps += _bump(theta, 0.0, 0.28) * (0.08 * _bump(y, self.chin_y - 0.22, 0.12))
        if t.hair_style != "long":
            bumps += _both_sides(theta, 1.68, 0.1) * (0.2 * _bump(y, 0.12, 0.2))  # ears
        return bumps

    def hairline(self, theta: Floats) -> Floats:
        """Height of the lower edge of the hair (or cap) at each angle."""
        t = self.traits
        side = np.abs(theta)
        if t.hair_style == "bald":
            return np.full_like(side, 2 * t.crown_y)
        if t.hair_style == "cap":
            return -0.62 + 0.35 * smoothstep(1.0, 1.6, side)
        front, temple, nape = _HAIRLINES[t.hair_style]
        line = front + (temple - front) * smoothstep(0.85, 1.45, side) + (nape - temple) * smoothstep(1.6, 2.0, side)
        strength = 0.05 if t.hair_style == "fringe" else 0.03
        for k, w in enumerate(self._hair_waves):
            line += strength * w * np.sin((1.5 + 3 * k) * theta + 3 * w)
        return line

    def hair_cover(self, theta: Floats, y: Floats) -> Floats:
        """Degree to which hair covers the surface: 0 on bare skin to 1."""
        return np.asarray(1 - smoothstep(-0.05, 0.05, y - self.hairline(theta)))

    @cached_property
    def landmarks(self) -> Floats:
        """Coordinates (68, 2) theta, y of the points in iBUG order, image-left first."""
        points = np.zeros((68, 2))
        flip = np.array(IBUG68.flip)
        left, right = (self._half(side) for side in (0, 1))
        points[list(_LEFT)] = left[list(_LEFT)]
        points[flip[list(_LEFT)]] = right[list(_LEFT)] * (-1, 1)
        points[list(_MIDLINE)] = 0.5 * (left + right)[list(_MIDLINE)] * (0, 1)
        return points

    def _half(self, side: int) -> Floats:
        """Place the points of the image-left half (negative theta) and the midline, in the expression of one side."""
        t = self.traits
        p = np.zeros((68, 2))
        p[0:9, 0] = -np.array([1.42, 1.42, 1.4, 1.37, 1.3, 1.2, 1.0, 0.6, 0.0])
        p[0:9, 1] = np.array([0.02, 0.2, 0.38, 0.56, 0.72, 0.85, 0.935, 0.975, 0.985]) * self.chin_y
        lift = t.brow_raise[side]
        p[17:22, 0] = -t.eye_angle + np.array([-0.3, -0.18, -0.04, 0.1, 0.22])
        p[17:22, 1] = t.brow_y - lift + np.array([0.06, 0.0, 0.0, 0.02, 0.05])
        p[17:22, 1] -= t.brow_arch * np.array([0, 0.7, 1, 0.6, 0])
        p[27:31, 1] = t.nose_y * np.array([-0.05, 0.3, 0.65, 1.0])
        p[31:34, 0] = -t.nose_width * np.array([0.21, 0.1, 0.0])
        p[31:34, 1] = t.nose_y + np.array([0.1, 0.13, 0.15]) - 0.02 * t.smile
        up, down = t.eye_open[side] * np.array([0.105, 0.06])
        eye = np.array([(-1, 0), (-0.4, -up), (0.35, -up), (1, 0), (0.4, down), (-0.4, down)])
        eye *= (t.eye_half_width, 1.0)
        p[36:42, 0] = eye[:, 0] - t.eye_angle
        p[36:42, 1] = eye[:, 1] + 0.02 + t.eye_slant * eye[:, 0]
        self._half_mouth(p)
        return p

    def _half_mouth(self, p: Floats) -> None:
        t = self.traits
        half = t.mouth_half_width * (1 + 0.22 * t.smile - 0.5 * t.mouth_open)
        corner = t.mouth_y - 0.1 * t.smile + 0.3 * t.mouth_open
        top, bottom = t.mouth_y - 0.03 * t.smile - 0.15 * t.mouth_open, t.mouth_y + 0.85 * t.mouth_open
        p[48] = -half, corner
        p[49] = -0.62 * half, 0.35 * corner + 0.65 * top - 0.75 * t.upper_lip
        p[50] = -0.2 * half, top - 1.1 * t.upper_lip
        p[51] = 0.0, top - 0.95 * t.upper_lip
        p[57] = 0.0, bottom + t.lower_lip
        p[58] = -0.35 * half, bottom + 0.93 * t.lower_lip
        p[59] = -0.7 * half, 0.4 * corner + 0.6 * bottom + 0.6 * t.lower_lip
        p[60] = -0.88 * half, corner
        p[61] = -0.4 * half, 0.25 * corner + 0.75 * top
        p[62] = 0.0, top
        p[66] = 0.0, bottom
        p[67] = -0.4 * half, 0.25 * corner + 0.75 * bottom
