"""Project points of the head to pixels: turn the head and frame the crop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rcn_search.config.drawing import Contour
from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.synthetic.head import Floats, Head
from rcn_search.data.synthetic.traits import Traits

_FIVE_PAIRS = np.array([(36, 39), (42, 45), (30, 30), (48, 48), (54, 54)])  # eye corners, nose tip, mouth corners
_FOUR = np.array([0, 1, 3, 4])  # without the nose
_CONTOUR = np.arange(17)
_SLIDE = np.linspace(1.0, 0.0, 16)[:, None]  # share of the way from the midline to the ear
_MARGIN_PX = 2.5  # face boxes are rounded outwards


@dataclass(frozen=True, kw_only=True)
class View:
    """Weak-perspective camera: ``pixels = scale_px * rotated x,y / (1 - z / distance) + offset_px``."""

    rotation: Floats  # (3, 3)
    distance: float
    scale_px: float = 1.0
    offset_px: Floats

    def project(self, xyz: Floats) -> tuple[Floats, Floats, Floats]:
        """Project points (3, ...) in the head's axes to crop pixels x, y and depth (larger is nearer to the camera)."""
        x, y, z = (self.rotation @ xyz.reshape(3, -1)).reshape(xyz.shape)
        grown = self.scale_px / (1 - z / self.distance)
        return x * grown + self.offset_px[0], y * grown + self.offset_px[1], z


def rotation_matrix(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Floats:
    """Build the rotation (3, 3) that turns (yaw), then nods (pitch), then tilts in the image plane (roll)."""
    angles = np.radians([yaw_deg, pitch_deg, roll_deg])
    (cy, cp, cr), (sy, sp, sr) = np.cos(angles).tolist(), np.sin(angles).tolist()
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn)


def landmarks_xyz(head: Head, contour: Contour = "outline") -> Floats:
    """Compute the points (3, 68) of the head as annotators of 300-W place them.

    Contour points that have turned away slide forward, at the same height, to the visible outline; with the contour
    ``surface`` they stay where they are.
    """
    theta, y = head.landmarks.T
    if contour == "surface":
        return head.surface(theta, y)
    num = len(_SLIDE)
    paths = np.empty((2, 68 + num * 17))
    paths[:, :68] = theta, y
    paths[0, 68:].reshape(num, 17)[:] = _SLIDE * theta[:17]
    paths[1, 68:].reshape(num, 17)[:] = y[:17]
    surface = head.surface(*paths)
    xyz, candidates = surface[:, :68], surface[:, 68:].reshape(3, num, 17)
    yaw = math.radians(head.traits.yaw_deg)
    outward = np.sign(theta[:17]) * (candidates[0] * math.cos(yaw) + candidates[2] * math.sin(yaw))
    xyz[:, :17] = candidates[:, outward.argmax(axis=0), _CONTOUR]
    return xyz


def five_of(points_k: Floats) -> Floats:
    """Derive the five points of arrays (..., 68): eye centers, nose tip, outer mouth corners."""
    pairs = points_k[..., _FIVE_PAIRS]
    return np.asarray(0.5 * (pairs[..., 0] + pairs[..., 1]))


def frame(traits: Traits, landmarks_3k: Floats, rng: np.random.Generator, jitter: float = 1.0) -> View:
    """Choose a camera that shows the head as a stored crop does, a little off-center unless ``jitter`` is 0.

    The crop contains both face boxes that a data set may use: `four_point_box` with ratio 0.95 and `enclosing_box`
    with ratio 1.3 (`rcn_search.data.crops`).
    """
    view = View(
        rotation=rotation_matrix(traits.yaw_deg, traits.pitch_deg, traits.roll_deg),
        distance=traits.camera_distance,
        offset_px=np.zeros(2),
    )
    points_2k = np.stack(view.project(landmarks_3k)[:2])
    five = five_of(points_2k)
    left_eye, right_eye, _, left_mouth, right_mouth = five.T
    reach = max(math.hypot(*(right_eye - left_eye)), math.hypot(*(left_mouth + right_mouth - left_eye - right_eye)) / 2)
    extra = 0.15 * float((points_2k.max(axis=1) - points_2k.min(axis=1)).max())
    boxes = _square(five[:, _FOUR], extra=0.95 * reach), _square(points_2k, extra=extra)
    low, high = np.minimum(boxes[0][0], boxes[1][0]), np.maximum(boxes[0][1], boxes[1][1])
    side_px = (IMAGE_SIZE_PX - 2 * _MARGIN_PX) * rng.uniform(1 - 0.14 * jitter, 1.0)
    scale_px = side_px / float((high - low).max())
    slack_px = IMAGE_SIZE_PX - 2 * _MARGIN_PX - scale_px * (high - low)
    share = 0.5 + 0.5 * jitter * (rng.random(2) - rng.random(2))  # mostly near the middle
    offset_px = _MARGIN_PX + share * slack_px - scale_px * low
    return View(rotation=view.rotation, distance=view.distance, scale_px=scale_px, offset_px=offset_px)


def _square(points_2k: Floats, extra: float) -> tuple[Floats, Floats]:
    """Compute two opposite corners of the square around points, enlarged by ``extra`` on every side."""
    low, high = points_2k.min(axis=1), points_2k.max(axis=1)
    center = 0.5 * (low + high)
    half = 0.5 * float((high - low).max()) + extra
    return center - half, center + half
