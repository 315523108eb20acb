"""Draw a keypoint schema: its points, edges and flip.

A schema has no coordinates, so points are placed by stress majorization of the graph of its edges (Kamada and Kawai,
1989), symmetric: the points of a flip pair lie opposite each other, the others on the axis. Shape letters: k points.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.csgraph import shortest_path

from rcn_search.evaluation.figures.style import FAINT, INK, PALETTE, save_figure, set_title
from rcn_search.keypoints import KeypointSchema

Array = NDArray[np.float64]


def draw_schema(schema: KeypointSchema, uri: str) -> None:
    """Draw a schema: points with their names, edges as lines, pairs that a flip exchanges joined by dashes."""
    points_k2 = place_points(schema)
    many = schema.num_points > 30
    figure = Figure(figsize=(11, 11) if many else (6.4, 6.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    pairs = [points_k2[[k, other]] for k, other in enumerate(schema.flip) if k < other]
    edges = [points_k2[list(pair)] for edge in schema.edges for pair in pairwise(edge)]
    axes.add_collection(LineCollection(pairs, colors=PALETTE[1], linewidths=0.6, linestyles="--", zorder=1))
    axes.add_collection(LineCollection(edges, colors=PALETTE[0], linewidths=1.8, zorder=2))
    is_paired_k = np.array(schema.flip) != np.arange(schema.num_points)
    colors = np.where(is_paired_k, PALETTE[1], INK)
    axes.scatter(points_k2[:, 0], points_k2[:, 1], s=14 if many else 40, c=colors.tolist(), zorder=3)
    for name, (x, y) in zip(schema.names, points_k2, strict=True):
        text = name.replace("$", r"\$")
        axes.annotate(
            text, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=5 if many else 8, color=INK, zorder=4
        )
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.margins(0.12)
    axes.invert_yaxis()
    num_pairs = len(pairs)
    set_title(
        figure,
        f"{schema.name}: {schema.num_points} points, flip pairs (dashed): {num_pairs}, normalizer "
        f"{schema.default_normalizer}",
        "Places are made from the edges, not from annotations.",
    )
    save_figure(figure, uri)


def place_points(schema: KeypointSchema) -> Array:
    """Place the points (k, 2), symmetric about x = 0, the first of a flip pair on the left; y grows downwards."""
    num_points = schema.num_points
    distance_kk = _graph_distances(schema)
    matrix, start = _symmetric_coordinates(schema)
    upper = np.triu_indices(num_points, 1)
    wanted = distance_kk[upper]

    def stress(parameters: Array) -> tuple[float, Array]:
        points_k2 = (matrix @ parameters).reshape(num_points, 2)
        between = points_k2[upper[0]] - points_k2[upper[1]]
        length = np.maximum(np.hypot(*between.T), 1e-9)
        rest = (length - wanted) / wanted
        pull = (2 * rest / (wanted * length))[:, None] * between
        gradient_k2 = np.zeros_like(points_k2)
        np.add.at(gradient_k2, upper[0], pull)
        np.add.at(gradient_k2, upper[1], -pull)
        return float((rest**2).sum()), matrix.T @ gradient_k2.reshape(-1)

    if num_points == 1:
        return np.zeros((1, 2))
    found = minimize(stress, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    points_k2: Array = (matrix @ found.x).reshape(num_points, 2)
    first = [k for k, other in enumerate(schema.flip) if k < other]
    if points_k2[first, 0].sum() > 0:
        points_k2[:, 0] *= -1
    return points_k2


def _graph_distances(schema: KeypointSchema) -> Array:
    """Number of edges between points (k, k); parts that no edge joins are a little farther apart than the longest."""
    adjacency_kk = np.zeros((schema.num_points, schema.num_points))
    for edge in schema.edges:
        for first, second in pairwise(edge):
            adjacency_kk[first, second] = adjacency_kk[second, first] = 1
    distance_kk: Array = shortest_path(adjacency_kk, unweighted=True)
    finite = distance_kk[np.isfinite(distance_kk)]
    apart = max(2.0, finite.max() * 0.75)
    return np.where(np.isfinite(distance_kk), distance_kk, apart)


def _symmetric_coordinates(schema: KeypointSchema) -> tuple[Array, Array]:
    """Make the matrix (2 k, p) from free coordinates to all, and where they start: in the order of the points."""
    rows: list[tuple[int, int, float]] = []
    start: list[float] = []
    for k, other in enumerate(schema.flip):
        if k > other:
            continue
        y = float(k)
        if k < other:
            rows += [(2 * k, len(start), -1.0), (2 * other, len(start), 1.0)]
            start.append(1.0 + 0.37 * (k % 3))
        rows += [(2 * each + 1, len(start), 1.0) for each in dict.fromkeys((k, other))]
        start.append(y / max(1, schema.num_points) * 4)
    matrix = np.zeros((2 * schema.num_points, len(start)))
    for row, column, value in rows:
        matrix[row, column] = value
    if all(k == other for k, other in enumerate(schema.flip)):  # no pairs: free in both directions
        angle_k = np.arange(schema.num_points) / schema.num_points * 2 * np.pi
        return np.eye(2 * schema.num_points), np.stack([np.cos(angle_k), np.sin(angle_k)], 1).reshape(-1) * 2
    return matrix, np.array(start)
