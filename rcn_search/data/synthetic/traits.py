"""Choose the build, looks, expression and pose of one person at random.

Lengths are in units of half the width of the head (about 75 mm), angles in radians unless the name says degrees,
tones are reflectances in [0, 1]. Ranges are those of adults, a little widened.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, TypeVar

import numpy as np

from rcn_search.config.drawing import DrawingConfig

HairStyle = Literal["bald", "short", "fringe", "long", "cap"]
Glasses = Literal["none", "clear", "dark"]
Beard = Literal["none", "stubble", "mustache", "full"]
Choice = TypeVar("Choice", bound=str)
USUAL = DrawingConfig()


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Build, looks, expression and pose of a person."""

    # Build
    female: bool
    age: float  # 0 young .. 1 old: wrinkles, gray hair
    chin_y: float  # eyes (y = 0) to chin
    crown_y: float
    jaw_power: float  # exponent of the outline of the lower face: 1.8 pointed .. 3.2 square
    depth: float  # head center to forehead
    eye_angle: float  # of an eye center from the midline
    eye_half_width: float
    eye_slant: float
    brow_y: float
    brow_arch: float
    brow_width: float  # thickness
    nose_y: float  # tip
    nose_height: float
    nose_width: float
    mouth_y: float
    mouth_half_width: float
    upper_lip: float
    lower_lip: float
    # Looks
    skin: float
    lip: float  # tone of the lips as a share of the skin's
    iris: float
    hair: float
    hair_style: HairStyle
    hair_seed: int
    beard: Beard
    glasses: Glasses
    # Expression
    smile: float  # 0 .. 1
    mouth_open: float  # gap between the lips
    brow_raise: tuple[float, float]  # image-left, image-right
    eye_open: tuple[float, float]  # 0 closed .. 1, image-left, image-right
    gaze: tuple[float, float]  # of the irises, as a share of the eye's half width
    # Pose: positive yaw turns the nose to the right of the image, positive pitch down, positive roll clockwise
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    camera_distance: float

    @property
    def smiling(self) -> bool:
        """Whether the expression counts as a smile."""
        return self.smile > 0.35

    @property
    def skin_code(self) -> int:
        """Class of the skin's tone: 0 dark, 1 medium, 2 light."""
        return bisect_left([0.435, 0.66], self.skin)

    @property
    def pose_code(self) -> int:
        """Pose class of MTFL: 0 left profile, 1 left, 2 frontal, 3 right, 4 right profile."""
        return bisect_left([-40.0, -15.0, 15.0, 40.0], self.yaw_deg)


def _bell(rng: np.random.Generator, low: float, high: float) -> float:
    """Sample a number from [low, high], most likely one in the middle."""
    return low + (high - low) * 0.5 * (rng.random() + rng.random())


def _angle(rng: np.random.Generator, spread_deg: float, limit_deg: float) -> float:
    """Sample an angle near zero, but in one of five cases anywhere up to the limit."""
    if rng.random() < 0.2:
        return float(rng.uniform(-limit_deg, limit_deg))
    return min(max(rng.normal(0, spread_deg), -limit_deg), limit_deg)


def choose(rng: np.random.Generator, probabilities: Sequence[float]) -> int:
    """Choose an index as ``rng.choice(len(probabilities), p=probabilities)`` does, which takes much longer."""
    shares = list(accumulate(probabilities))
    return bisect_right([share / shares[-1] for share in shares], rng.random())


def _pick(rng: np.random.Generator, probabilities: dict[Choice, float]) -> Choice:
    return list(probabilities)[choose(rng, list(probabilities.values()))]


def _random_hair_style(rng: np.random.Generator, female: bool) -> tuple[HairStyle, Beard]:
    if female:
        style: HairStyle = _pick(rng, {"bald": 0.01, "short": 0.2, "fringe": 0.24, "long": 0.48, "cap": 0.07})
        return style, "none"
    style = _pick(rng, {"bald": 0.14, "short": 0.58, "fringe": 0.1, "long": 0.06, "cap": 0.12})
    return style, _pick(rng, {"none": 0.52, "stubble": 0.2, "mustache": 0.1, "full": 0.18})


def random_traits(rng: np.random.Generator, ranges: DrawingConfig = USUAL) -> Traits:
    """Choose the traits of a person."""
    female = bool(rng.random() < 0.42)
    age = rng.random() ** 1.5
    skins = _bell(rng, 0.62, 0.9), _bell(rng, 0.42, 0.7), _bell(rng, 0.2, 0.45)
    skin = skins[choose(rng, [0.55, 0.25, 0.2])]
    is_gray = rng.random() < 0.1 + 0.6 * max(0.0, age - 0.4)
    hair = _bell(rng, 0.55, 0.9) if is_gray else rng.uniform(0.05, 0.15 + 0.5 * skin)
    smile = float(rng.uniform(0.5, 1)) if rng.random() < 0.5 else float(rng.uniform(-0.15, 0.25))
    mouth_open = float(rng.random() < 0.45) * rng.uniform(0.03, 0.16)
    mouth_open += float(rng.random() < 0.12) * rng.uniform(0.1, 0.3)
    lids = float(rng.uniform(0.55, 1.1)) * (1 - 0.25 * max(0.0, smile))
    closed, wink = rng.random() < 0.06, rng.random(2) < 0.02
    brow_raise = float(rng.normal(0, 0.05))
    hair_style, beard = _random_hair_style(rng, female)
    return Traits(
        female=female,
        age=age,
        chin_y=_bell(rng, 1.42, 1.68) - 0.05 * female,
        crown_y=-_bell(rng, 1.35, 1.65),
        jaw_power=_bell(rng, 1.85, 2.6) + (0.0 if female else 0.3),
        depth=_bell(rng, 0.88, 1.05),
        eye_angle=_bell(rng, 0.37, 0.49),
        eye_half_width=_bell(rng, 0.165, 0.23),
        eye_slant=float(rng.normal(0.0, 0.06)),
        brow_y=-_bell(rng, 0.24, 0.38) - 0.03 * female,
        brow_arch=_bell(rng, 0.0, 0.12),
        brow_width=_bell(rng, 0.02, 0.07) + (0.0 if female else 0.02),
        nose_y=_bell(rng, 0.44, 0.64),
        nose_height=_bell(rng, 0.26, 0.46),
        nose_width=_bell(rng, 0.8, 1.3),
        mouth_y=_bell(rng, 0.84, 1.06),
        mouth_half_width=_bell(rng, 0.27, 0.41),
        upper_lip=_bell(rng, 0.04, 0.1) + 0.01 * female,
        lower_lip=_bell(rng, 0.06, 0.13) + 0.01 * female,
        skin=skin,
        lip=rng.uniform(0.45, 0.85) if female else rng.uniform(0.7, 0.95),
        iris=rng.uniform(0.05, 0.4),
        hair=hair,
        hair_style=hair_style,
        hair_seed=int(rng.integers(1 << 30)),
        beard=beard,
        glasses=_pick(rng, {"none": 0.8, "clear": 0.14, "dark": 0.06}),
        smile=smile,
        mouth_open=mouth_open,
        brow_raise=(brow_raise + float(rng.normal(0, 0.02)), brow_raise + float(rng.normal(0, 0.02))),
        eye_open=(0.0, 0.0) if closed else (lids * float(not wink[0]), lids * float(not wink[1])),
        gaze=(min(max(rng.normal(0, 0.25), -0.5), 0.5), rng.normal(0, 0.1)),
        yaw_deg=_angle(rng, ranges.yaw_deg / 3, ranges.yaw_deg),
        pitch_deg=_angle(rng, 0.32 * ranges.pitch_deg, ranges.pitch_deg),
        roll_deg=_angle(rng, 0.36 * ranges.roll_deg, ranges.roll_deg),
        camera_distance=float(rng.uniform(5, 20)),
    )
