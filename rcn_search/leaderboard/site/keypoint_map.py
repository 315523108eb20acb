"""Drawing of the mean error of each keypoint, k, on a mean face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.score import Estimate
from rcn_search.keypoints import IBUG68, POINT_SUBSETS, SCHEMAS
from rcn_search.leaderboard.mean_face import mean_face
from rcn_search.leaderboard.render import interval

_MARGIN = 12.0


@dataclass(frozen=True)
class MapPoint:
    """A point on a canvas of 200 by 190, area proportional to its error; ``level``: 0 for the best, 4 for the worst."""

    x: float
    y: float
    radius: float
    level: int
    name: str
    pct: float
    interval: str


@dataclass(frozen=True)
class KeypointMap:
    """The drawing. ``lines`` are SVG polylines of the face; empty if no face can be drawn."""

    points: list[MapPoint]
    lines: list[str]
    worst: list[MapPoint]


def keypoint_map(keypoints: str, estimates: Sequence[Estimate | None]) -> KeypointMap | None:
    """Draw errors by keypoint of a protocol's ``keypoints``, a schema or a named subset of one; None without errors."""
    schema = SCHEMAS.get(POINT_SUBSETS.get(keypoints, (keypoints, ()))[0])
    counted = [(k, estimate) for k, estimate in enumerate(estimates) if estimate is not None]
    if schema is None or len(estimates) != schema.num_points or not counted:
        return None
    canvas_k2 = _canvas_points(schema.name)
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
            interval=interval(estimate.low_pct, estimate.high_pct),
        )
        for k, estimate in counted
    ]
    lines = _outline() if canvas_k2 is not None else []
    return KeypointMap(points, lines, sorted(points, key=lambda point: -point.pct))


def _canvas_points(schema_name: str) -> Array | None:
    """Place the points of the mean face, (K, 2), on a canvas of 200 by 190."""
    face_k2 = mean_face(schema_name)
    return None if face_k2 is None else face_k2 * (200.0 - 2 * _MARGIN) + _MARGIN


@lru_cache
def _outline() -> list[str]:
    canvas_k2 = _canvas_points(IBUG68.name)
    assert canvas_k2 is not None
    return [" ".join(f"{canvas_k2[k, 0]:.1f},{canvas_k2[k, 1]:.1f}" for k in edge) for edge in IBUG68.edges]
