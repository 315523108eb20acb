"""Smooth points over time by the one-euro filter (Casiez, Roussel and Vogel, CHI 2012)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MIN_CUTOFF_HZ = 1.5
"""Cutoff frequency of points that rest: lower is smoother."""
SPEED_WEIGHT = 12.0
"""Hz by which the cutoff rises for each face side per second, so that quick movements are not delayed."""
SPEED_CUTOFF_HZ = 1.0
"""Cutoff frequency of the speed itself, as in the paper."""


class OneEuroFilter:
    """A low-pass filter of points whose cutoff frequency rises with their speed."""

    def __init__(self) -> None:
        self._points_k2: NDArray[np.float64] | None = None
        self._speed_k2: NDArray[np.float64] | None = None
        self._time_s = 0.0

    def __call__(self, points_k2: NDArray[np.floating], time_s: float, face_px: float) -> NDArray[np.float32]:
        """Smooth the points (k, 2) of the next frame, in pixels; ``face_px`` is the side of the face's crop."""
        points = points_k2.astype(np.float64)
        elapsed_s = time_s - self._time_s
        if self._points_k2 is None or self._speed_k2 is None or elapsed_s <= 0:
            self._points_k2, self._speed_k2 = points, np.zeros_like(points)
        else:
            speed = (points - self._points_k2) / elapsed_s / face_px
            self._speed_k2 += _weight(SPEED_CUTOFF_HZ, elapsed_s) * (speed - self._speed_k2)
            cutoff_hz = MIN_CUTOFF_HZ + SPEED_WEIGHT * np.linalg.norm(self._speed_k2, axis=1, keepdims=True)
            self._points_k2 = self._points_k2 + _weight(cutoff_hz, elapsed_s) * (points - self._points_k2)
        self._time_s = time_s
        return self._points_k2.astype(np.float32)


def _weight(cutoff_hz: float | NDArray[np.float64], elapsed_s: float) -> NDArray[np.float64]:
    """Weight of the new value in exponential smoothing of a cutoff frequency."""
    ratio = 2 * math.pi * np.asarray(cutoff_hz) * elapsed_s
    return np.asarray(ratio / (ratio + 1))
