"""Pictures for papers: cumulative errors, mean errors with intervals, errors by keypoint on a mean face."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures import style
from rcn_search.evaluation.metrics import Array, cumulative_errors
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.evaluation.score import Estimate
from rcn_search.keypoints import FIVE, IBUG68, POINT_SUBSETS
from rcn_search.leaderboard.mean_face import mean_face
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import load_errors

_PANELS_IN_A_ROW = 4


def draw_ced(leaderboard: str, entries: Sequence[Entry], uri: str) -> None:
    """Draw the cumulative error curve of each entry of one protocol, up to twice its threshold."""
    protocol = _one_protocol(entries)
    errors = [load_errors(leaderboard, entry) for entry in entries]
    figure, (axes,) = style.panels(1, height=4.2 + 0.2 * len(entries))
    style.label_axes(axes, "error of an image, %", "share of images, %")
    end = 2 * protocol.threshold_pct
    for index, (entry, error_pct_n) in enumerate(zip(entries, errors, strict=True)):
        x, y = cumulative_errors(error_pct_n[np.isfinite(error_pct_n)], end)
        line = style.line_style(index) | {"marker": "", "linewidth": 1.4}
        axes.step(x, y, where="post", label=style.wrap_text(f"{entry.error_pct:.2f} %   {entry.method}"), **line)
    axes.axvline(protocol.threshold_pct, color=style.INK, linewidth=0.8, linestyle=":")
    _annotate(axes, f"AUC and failure rate: {protocol.threshold_pct:g} %", (protocol.threshold_pct, 2), (4, 0))
    axes.set_xlim(0, end)
    axes.set_ylim(0, 101)
    style.add_legend_below(figure, axes, "mean error and method")
    style.set_title(figure, f"{protocol.dataset} {protocol.subset}: {entries[0].num_images:,} images", str(protocol))
    style.save_figure(figure, uri)


def draw_bars(entries: Sequence[Entry], uri: str) -> None:
    """Draw mean errors of entries of one protocol with their 95 % intervals, best on top.

    The axis does not start at 0: intervals are compared by position, and dots have no length that could mislead.
    """
    protocol = _one_protocol(entries)
    best_first = sorted(entries, key=lambda entry: entry.error_pct)
    figure, (axes,) = style.panels(1, width=8.0, height=1.3 + 0.42 * len(entries))
    for y, entry in enumerate(best_first):
        if entry.ci_low_pct is not None and entry.ci_high_pct is not None:
            axes.plot([entry.ci_low_pct, entry.ci_high_pct], [y, y], color=style.PALETTE[0], linewidth=5, alpha=0.35)
        axes.plot(entry.error_pct, y, "o", color=style.PALETTE[0], markersize=5)
        _annotate(axes, f"{entry.error_pct:.2f}", (entry.error_pct, y), (0, 6), ha="center")
    axes.set_yticks(
        range(len(best_first)), [style.wrap_text(entry.method, 48) for entry in best_first], fontsize="small"
    )
    axes.set_ylim(len(best_first) - 0.4, -0.75)
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("mean error, % (band: 95 % interval)", color=style.INK)
    style.set_title(figure, f"{protocol.dataset} {protocol.subset}: {best_first[0].num_images:,} images", str(protocol))
    style.save_figure(figure, uri)


def draw_keypoints(entries: Sequence[Entry], uri: str) -> None:
    """Draw the mean error of each keypoint on a mean face, one face for each entry of one protocol, all on one scale.

    `RcnSearchError` if an entry has no errors by keypoint, or its keypoints are on no face that can be drawn.
    """
    protocol = _one_protocol(entries)
    for entry in entries:
        if not any(entry.points):
            raise RcnSearchError(
                f"{entry.method} has no errors by keypoint: 'rcn-search leaderboard rescore' adds them"
            )
    schema_name, _ = POINT_SUBSETS.get(protocol.keypoints, (protocol.keypoints, ()))
    face_k2, outline_k2 = mean_face(schema_name), mean_face(IBUG68.name)
    if face_k2 is None or outline_k2 is None:
        raise RcnSearchError(
            f"no face can be drawn with keypoints {schema_name!r}; known are {FIVE.name!r} and {IBUG68.name!r}"
        )
    num_rows = -(-len(entries) // _PANELS_IN_A_ROW)
    num_columns = -(-len(entries) // num_rows)
    figure = Figure(figsize=(0.8 + 2.9 * num_columns, 0.7 + 3.0 * num_rows), dpi=150, layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False).ravel().tolist()
    counted = [point.pct for entry in entries for point in entry.points if point]
    scale = ScalarMappable(Normalize(min(counted), max(counted)), matplotlib.colormaps["viridis_r"])
    for axes, entry in zip(grid, entries, strict=False):
        _face(axes, face_k2, outline_k2, entry.points, scale)
        axes.set_title(
            style.wrap_text(f"{entry.error_pct:.2f} %  {entry.method}", 42), fontsize="x-small", color=style.INK
        )
    for axes in grid[len(entries) :]:
        axes.set_axis_off()
    bar = figure.colorbar(scale, ax=grid, shrink=0.7)
    bar.set_label("mean error of the point, %", fontsize="small", color=style.INK)
    bar.ax.tick_params(labelsize="small", labelcolor=style.INK)
    bar.outline.set_visible(False)
    style.set_title(figure, f"{protocol.dataset} {protocol.subset}, by keypoint", str(protocol))
    style.save_figure(figure, uri)


def _annotate(axes: Axes, text: str, at: tuple[float, float], offset_pt: tuple[int, int], ha: str = "left") -> None:
    axes.annotate(text, at, xytext=offset_pt, textcoords="offset points", ha=ha, fontsize="x-small", color=style.INK)


def _face(
    axes: Axes, face_k2: Array, outline_k2: Array, points: Sequence[Estimate | None], scale: ScalarMappable
) -> None:
    for edge in IBUG68.edges:
        axes.plot(*outline_k2[list(edge)].T, color=style.FAINT, linewidth=1.2, zorder=1)
    few = len(face_k2) <= 10
    for k, point in enumerate(points):
        if point is None:
            axes.plot(*face_k2[k], ".", color=style.FAINT, zorder=1)
            continue
        color, size = scale.to_rgba(np.array([point.pct]))[0], 14 if few else 5
        axes.plot(
            *face_k2[k], "o", color=color, markersize=size, markeredgecolor="white", markeredgewidth=0.5, zorder=2
        )
        if few:
            axes.annotate(
                f"{point.pct:.2f}", face_k2[k], xytext=(0, -15), textcoords="offset points", ha="center", fontsize=7
            )
    axes.set_aspect("equal")
    axes.margins(0.06)
    axes.invert_yaxis()
    axes.set_axis_off()


def _one_protocol(entries: Sequence[Entry]) -> EvaluationProtocol:
    first, *others = (entry.protocol for entry in entries)
    for other in others:
        if other != first:
            reason = "; ".join(first.differences(other)) or f"name: {first.name} or {other.name}"
            raise RcnSearchError(f"all entries of a picture must have the same protocol; these differ in {reason}")
    return first
