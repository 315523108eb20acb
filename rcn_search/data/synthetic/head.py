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
_LEFT = np.array([*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67])
_RIGHT = np.array(IBUG68.flip)[_LEFT]
_MIDLINE = np.array([8, 27, 28, 29, 30, 33, 51, 57, 62, 66])

_JAW_THETA = -np.array([1.42, 1.42, 1.4, 1.37, 1.3, 1.2, 1.0, 0.6, 0.0])
_JAW_Y = np.array([0.02, 0.2, 0.38, 0.56, 0.72, 0.85, 0.935, 0.975, 0.985])
_BROW_THETA = np.array([-0.3, -0.18, -0.04, 0.1, 0.22])
_BROW_Y = np.array([0.06, 0.0, 0.0, 0.02, 0.05])
_BROW_ARCH = np.array([0, 0.7, 1, 0.6, 0])
_NOSE_Y = np.array([-0.05, 0.3, 0.65, 1.0])
_NOSTRIL_THETA, _NOSTRIL_Y = np.array([-0.21, -0.1, 0.0]), np.array([0.1, 0.13, 0.15])
_EYE_THETA = np.array([-1, -0.4, 0.35, 1, 0.4, -0.4])
_EYE_Y = np.array([0, -0.105, -0.105, 0, 0.06, 0.06])  # of a wide open eye
_MOUTH = np.array([48, 49, 50, 51, 57, 58, 59, 60, 61, 62, 66, 67])
_MOUTH_THETA = np.array([-1, -0.62, -0.2, 0, 0, -0.35, -0.7, -0.88, -0.4, 0, 0, -0.4])

_HAIRLINES = {"short": (-0.9, 0.1, 0.9), "fringe": (-0.5, 0.2, 1.0), "long": (-0.8, 2.2, 2.2)}  # front, temple, nape


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    """Interpolate smoothly from 0 below ``low`` to 1 above ``high``."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _bumps(x: Floats, centers: Floats, widths: Floats) -> Floats:
    """Compute bell curves (k, ...) of height 1 at points (...)."""
    column = (-1,) + (1,) * x.ndim
    distances = (x - centers.reshape(column)) / widths.reshape(column)
    return np.asarray(np.exp(-0.5 * distances**2))


class Head:
    """Head of one person in one expression."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.chin_y = traits.chin_y + 0.7 * traits.mouth_open  # an opening mouth drops the jaw
        self._hair_waves: list[float] = np.random.default_rng(traits.hair_seed).normal(0, 1, 5).tolist()

    def surface(self, theta: Floats, y: Floats) -> Floats:
        """Compute points (3, ...) of the surface: x, y, z. Angles and heights are broadcast."""
        t = self.traits
        lower, upper = (y / self.chin_y).clip(0, 1), (y / t.crown_y).clip(0, 1)
        half_width = (1 - lower**t.jaw_power) ** (1 / t.jaw_power) * (1 - upper**2.4) ** (1 / 2.4)
        half_depth = (1 - lower**7) ** (1 / 7) * (1 - upper**2.7) ** (1 / 2.7)
        sin, cos = np.sin(theta), np.cos(theta)
        section = (np.abs(sin) ** 2.5 + np.abs(cos) ** 2.5) ** (-1 / 2.5)  # squarer than an ellipse: a flat front
        bumps = self._face_bumps(theta, y)
        if t.hair_style != "bald":
            bumps += 0.1 * self.hair_cover(theta, y)
        surface = np.empty((3, *bumps.shape))
        surface[0] = (half_width * section + bumps) * sin
        surface[1] = y
        surface[2] = (half_depth * section * np.where(cos > 0, t.depth, 1.2) + bumps) * cos
        return surface

    def _face_bumps(self, theta: Floats, y: Floats) -> Floats:
        t = self.traits
        along = ((y + 0.12) / (t.nose_y + 0.12)).clip(0, 1)
        nose = t.nose_height * along**1.2 * (1 - smoothstep(t.nose_y + 0.01, t.nose_y + 0.17, y))
        bumps = nose * np.exp(-0.5 * (theta / ((0.07 + 0.07 * along) * t.nose_width)) ** 2)
        parts = [
            # across: center and width; down: center, width and height
            (0.16 * t.nose_width, 0.06, t.nose_y + 0.03, 0.07, 0.1),  # wings of the nose
            (t.eye_angle - 0.03, 0.17, 0.0, 0.13, -0.13),  # sockets
            (t.eye_angle, 0.12, 0.0, 0.08, 0.06),  # eyeballs
            (t.eye_angle, 0.25, t.brow_y, 0.09, 0.05),
            (0.62, 0.25, 0.38, 0.16, 0.07),  # cheekbones
            (0.45, 0.15, t.nose_y + 0.05, 0.15, 0.07 * max(t.smile, 0.0)),
            (0.0, 0.26, t.mouth_y, 0.13, 0.07),
            (0.0, 0.28, self.chin_y - 0.22, 0.12, 0.08),
            (1.68, 0.1, 0.12, 0.2, 0.2),  # ears
        ]
        side, width_across, level, width_down, height = np.array(parts[: 8 if t.hair_style == "long" else 9]).T
        across, down = _bumps(np.abs(theta), side, width_across), _bumps(y, level, width_down)
        if theta.ndim == 2:  # a grid: angles (1, columns), heights (rows, 1)
            bumps += (height[:, None] * down[..., 0]).T @ across[:, 0]
        else:
            bumps += ((height[:, None] * down) * across).sum(axis=0)
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
        for frequency, w in zip((1.5, 4.5, 7.5, 10.5, 13.5), self._hair_waves, strict=True):
            line += strength * w * np.sin(frequency * theta + 3 * w)
        return line

    def hair_cover(self, theta: Floats, y: Floats) -> Floats:
        """Degree to which hair covers the surface: 0 on bare skin to 1."""
        return np.asarray(1 - smoothstep(-0.05, 0.05, y - self.hairline(theta)))

    @cached_property
    def landmarks(self) -> Floats:
        """Coordinates (68, 2) theta, y of the points in iBUG order, image-left first."""
        halves = self._halves()
        points = np.zeros((68, 2))
        points[_LEFT] = halves[0, _LEFT]
        points[_RIGHT] = halves[1, _LEFT] * (-1, 1)
        points[_MIDLINE] = 0.5 * (halves[0, _MIDLINE] + halves[1, _MIDLINE]) * (0, 1)
        return points

    def _halves(self) -> Floats:
        """Place the points (2, 68, 2) of the image-left half (negative theta) and the midline.

        In the expression of the image-left side, then in that of the right one.
        """
        t = self.traits
        p = np.zeros((2, 68, 2))
        theta, y = p[..., 0], p[..., 1]
        theta[:, 0:9] = _JAW_THETA
        y[:, 0:9] = _JAW_Y * self.chin_y
        theta[:, 17:22] = _BROW_THETA - t.eye_angle
        y[:, 17:22] = t.brow_y - np.array(t.brow_raise)[:, None] + _BROW_Y
        y[:, 17:22] -= t.brow_arch * _BROW_ARCH
        y[:, 27:31] = t.nose_y * _NOSE_Y
        theta[:, 31:34] = t.nose_width * _NOSTRIL_THETA
        y[:, 31:34] = t.nose_y + _NOSTRIL_Y - 0.02 * t.smile
        eye_x = _EYE_THETA * t.eye_half_width
        theta[:, 36:42] = eye_x - t.eye_angle
        y[:, 36:42] = np.array(t.eye_open)[:, None] * _EYE_Y + 0.02 + t.eye_slant * eye_x
        self._half_mouth(theta, y)
        return p

    def _half_mouth(self, theta: Floats, y: Floats) -> None:
        t = self.traits
        half = t.mouth_half_width * (1 + 0.22 * t.smile - 0.5 * t.mouth_open)
        corner = t.mouth_y - 0.1 * t.smile + 0.3 * t.mouth_open
        top, bottom = t.mouth_y - 0.03 * t.smile - 0.15 * t.mouth_open, t.mouth_y + 0.85 * t.mouth_open
        theta[:, _MOUTH] = _MOUTH_THETA * half
        y[:, _MOUTH] = (
            corner,
            0.35 * corner + 0.65 * top - 0.75 * t.upper_lip,
            top - 1.1 * t.upper_lip,
            top - 0.95 * t.upper_lip,
            bottom + t.lower_lip,
            bottom + 0.93 * t.lower_lip,
            0.4 * corner + 0.6 * bottom + 0.6 * t.lower_lip,
            corner,
            0.25 * corner + 0.75 * top,
            top,
            bottom,
            0.25 * corner + 0.75 * bottom,
        )
