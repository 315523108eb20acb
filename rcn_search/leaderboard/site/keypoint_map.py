"""Drawing of the mean error of each keypoint on a mean face.

The face is the mean of the drawn faces, from the front, so no photograph is needed and none is shown.

Array names end in their axes: k keypoints.
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
    """A point on a canvas of 200 by 190, with its name and error.

    The area is proportional to the error; ``level`` goes from 0 for the best point to 4 for the worst.
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
    """The drawing. ``lines`` are SVG polylines of the face; empty if no face can be drawn."""

    points: list[MapPoint]
    lines: list[str]
    worst: list[MapPoint]


def keypoint_map(keypoints: str, estimates: Sequence[Estimate | None]) -> KeypointMap | None:
    """Draw the errors of an entry by keypoint; None if it has none.

    Args:
        keypoints: Keypoints of the protocol: a schema or a named subset of one.
        estimates: Mean error of each point of the schema, None for points that do not count.
    """
    schema = SCHEMAS.get(POINT_SUBSETS.get(keypoints, (keypoints, ()))[0])
    counted = [(k, estimate) for k, estimate in enumerate(estimates) if estimate is not None]
    if schema is None or len(estimates) != schema.num_points or not counted:
        return None
    canvas_k2 = canvas_points(schema.name)
    least, largest = (pick(estimate.pct for _, estimate in counted) for pick in (min, max))
    base = 11.0 if schema.num_points < 12 else 5.5
    points = [
        MapPoint(
            x=round(float(canvas_k2[k, 0]), 1) if canvas_k2 is not None else 0.0,
            y=round(float(canvas_k2[k, 1]), 1) if canvas_k2 is not None else 0.0,
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
    lines = _outline() if canvas_k2 is not None else []
    return KeypointMap(points, lines, sorted(points, key=lambda point: -point.pct))


def canvas_points(schema_name: str) -> Array | None:
    """Place the points of the mean face, (K, 2), on a canvas of 200 by 190."""
    face_k2 = mean_face(schema_name)
    return None if face_k2 is None else face_k2 * (200.0 - 2 * _MARGIN) + _MARGIN


@lru_cache
def _outline() -> list[str]:
    """Format the parts of the mean face as polylines."""
    canvas_k2 = canvas_points(IBUG68.name)
    assert canvas_k2 is not None
    return [" ".join(f"{canvas_k2[k, 0]:.1f},{canvas_k2[k, 1]:.1f}" for k in part) for part in IBUG68.parts]
