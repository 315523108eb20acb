"""The points of a schema on a mean face, each with the error that an entry has there.

The mean face is that of the drawn faces, from the front: no photograph is needed, and none is shown.

Array names end in their axes: k keypoints, f faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.score import Estimate
from rcn_search.keypoints import IBUG68, POINT_SUBSETS, SCHEMAS
from rcn_search.leaderboard.mean_face import mean_face

_MARGIN = 12.0


@dataclass(frozen=True)
class MapPoint:
    """A point of the drawing: place and size on a canvas of 200 by 190, and what it says.

    The area is as the error; ``level`` goes from 0 for the best point to 4 for the worst.
    """

    x: float
    y: float
    radius: float
    level: int
    name: str
    pct: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class KeypointMap:
    """The drawing. ``lines`` are polylines of the face, as SVG takes them; empty where no face can be drawn."""

    points: list[MapPoint]
    lines: list[str]
    worst: list[MapPoint]


def keypoint_map(keypoints: str, estimates: Sequence[Estimate | None]) -> KeypointMap | None:
    """The drawing of an entry's errors by keypoint; None where it has none.

    Args:
        keypoints: Of the protocol: a schema or a named part of one.
        estimates: One for each point of the schema, None for those that do not count.
    """
    schema = SCHEMAS.get(POINT_SUBSETS.get(keypoints, (keypoints, ()))[0])
    counted = [(k, estimate) for k, estimate in enumerate(estimates) if estimate is not None]
    if schema is None or len(estimates) != schema.num_points or not counted:
        return None
    place_k2 = canvas_points(schema.name)
    least, largest = (pick(estimate.pct for _, estimate in counted) for pick in (min, max))
    base = 11.0 if schema.num_points < 12 else 5.5
    points = [
        MapPoint(
            x=round(float(place_k2[k, 0]), 1) if place_k2 is not None else 0.0,
            y=round(float(place_k2[k, 1]), 1) if place_k2 is not None else 0.0,
            radius=round(base * max(0.25, (estimate.pct / (largest or 1.0)) ** 0.5), 1),
            level=round(4 * (estimate.pct - least) / ((largest - least) or 1.0)),
            name=schema.names[k].replace("_", " "),
            pct=estimate.pct,
            interval=None
            if estimate.low_pct is None or estimate.high_pct is None
            else (estimate.low_pct, estimate.high_pct),
        )
        for k, estimate in counted
    ]
    lines = _outline() if place_k2 is not None else []
    return KeypointMap(points, lines, sorted(points, key=lambda point: -point.pct))


def canvas_points(schema_name: str) -> Array | None:
    """Of the mean face, (K, 2), on a canvas of 200 by 190."""
    place_k2 = mean_face(schema_name)
    return None if place_k2 is None else place_k2 * (200.0 - 2 * _MARGIN) + _MARGIN


@lru_cache
def _outline() -> list[str]:
    """The parts of the mean face as polylines."""
    place_k2 = canvas_points(IBUG68.name)
    assert place_k2 is not None
    return [" ".join(f"{place_k2[k, 0]:.1f},{place_k2[k, 1]:.1f}" for k in part) for part in IBUG68.parts]
