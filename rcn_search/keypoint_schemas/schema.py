"""What a keypoint schema says about the K points of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BOX, DIAGONAL = "box", "diagonal"
"""Normalizers that every schema has: sqrt(w h), or the diagonal, of the tightest upright box around the true points."""

Group = tuple[int, ...]
"""Indices of points."""


@dataclass(frozen=True)
class BoxRule:
    """How a crop is framed by its points.

    ``enclosing``: the square around all labeled points, its side multiplied by a ratio; black where it leaves the
    photograph. ``four_points``: the square around eyes and mouth corners, with a margin of a ratio times the larger of
    eye distance and eye-mouth distance, moved and shrunk to fit the photograph.

    Attributes:
        input_ratio: Ratio of the face box, the part that the network sees.
        crop_ratio: Ratio of the stored crop, which is larger, so that augmentation can move the face box.
    """

    rule: Literal["enclosing", "four_points"] = "enclosing"
    input_ratio: float = 1.3
    crop_ratio: float = 1.7


@dataclass(frozen=True, kw_only=True)
class KeypointSchema:
    """Meaning of the K points of a data set.

    Attributes:
        names: Names of the K points, in the order of every array of points.
        flip: K indices, an involution: point k of a flipped face is point ``flip[k]`` of the face.
        normalizers: Name of a normalizer to two groups of points. The normalizing length is the distance between the
            means of the two groups, in the units of the points. The first is the default; ``box`` and ``diagonal``
            exist besides.
        edges: Lines to draw, each through two points or more.
        parts: Named groups of points.
        box: Rule that frames a crop by its points.
    """

    name: str
    names: tuple[str, ...]
    flip: Group
    normalizers: dict[str, tuple[Group, Group]] = field(default_factory=dict)
    edges: tuple[Group, ...] = ()
    parts: dict[str, Group] = field(default_factory=dict)
    box: BoxRule = BoxRule()

    @property
    def num_points(self) -> int:
        """Number of points, K."""
        return len(self.names)

    @property
    def default_normalizer(self) -> str:
        """The first normalizer of the schema; ``box`` if it names none."""
        return next(iter(self.normalizers), BOX)

    @property
    def normalizer_names(self) -> tuple[str, ...]:
        """Names of all normalizers, the default first."""
        return (*self.normalizers, BOX, DIAGONAL)
