"""Figures of a comparison of studies: PNG, SVG or PDF by Matplotlib, and a page of HTML by Plotly."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures import style
from rcn_search.study_report.comparison import LABELS, Method, mean_and_interval, measures
from rcn_search.study_report.html import PAGE_HEAD

_BAND_OPACITY = 0.18


def draw_comparison(methods: Sequence[Method], uri: str) -> None:
    """Draw the best error against each measure, with the 95 % interval over seeds as a band."""
    shown = measures(methods)
    figure, panels = style.panels(len(shown), width=4.6 * len(shown), height=3.8 + 0.2 * len(methods))
    for axes, measure in zip(panels, shown, strict=True):
        style.label_axes(axes, LABELS[measure], "lowest validation error, %")
        for index, method in enumerate(methods):
            grid_x, error_sx = method.curve(measure)
            mean_x, low_x, high_x = mean_and_interval(error_sx)
            line = style.line_style(index) | {"marker": ""}
            axes.step(grid_x, mean_x, where="post", label=style.wrap_text(_label(method)), **line)
            limits = axes.dataLim.frozen()  # bands of few seeds may be much wider than the curves
            axes.fill_between(grid_x, low_x, high_x, step="post", color=line["color"], alpha=_BAND_OPACITY, lw=0)
            axes.dataLim.set(limits)
    style.add_legend_below(figure, panels[0])
    style.save_figure(figure, uri)


def render_comparison(methods: Sequence[Method], table: Table, differences: Sequence[str]) -> str:
    """Render a page with the figures, the table and the differences; it loads nothing from anywhere.

    Raises:
        RcnSearchError: Plotly is not installed.
    """
    try:
        from plotly import graph_objects, io, offline
    except ImportError:
        raise RcnSearchError("the HTML page needs Plotly: pip install 'rcn-search[report]'") from None
    figures = []
    for measure in measures(methods):
        figure = graph_objects.Figure()
        for index, method in enumerate(methods):
            _add_curve(figure, method, measure, style.PALETTE[index % len(style.PALETTE)])
        figure.update_layout(
            template="plotly_white",
            xaxis_title=LABELS[measure],
            yaxis_title="lowest validation error, %",
            margin={"t": 20},
            legend={"orientation": "h", "y": -0.2},
        )
        figures.append(io.to_html(figure, include_plotlyjs=False, full_html=False, config={"displaylogo": False}))
    title = " and ".join(method.name for method in methods)
    return "".join(
        [
            PAGE_HEAD.format(title=html.escape(title)),
            f"<body><h1>{html.escape(title)}</h1>",
            f"<p class='dim'>as of {time.strftime('%Y-%m-%d %H:%M')}</p>",
            f"<script>{offline.get_plotlyjs()}</script>",
            *(f"<section>{figure}</section>" for figure in figures),
            f"<section><h2>Studies</h2>{_html_table(table)}</section>",
            f"<section><h2>Differences</h2><pre>{html.escape(chr(10).join(differences))}</pre></section>",
            "</body></html>\n",
        ]
    )


def _label(method: Method) -> str:
    return f"{method.name} ({len(method.studies)} seeds)" if len(method.studies) > 1 else method.name


def _add_curve(figure: Any, method: Method, measure: Any, color: str) -> None:
    grid_x, error_sx = method.curve(measure)
    mean_x, low_x, high_x = mean_and_interval(error_sx)
    line = {"color": color, "shape": "hv"}
    if len(error_sx) > 1:
        edges = {"line": {**line, "width": 0}, "showlegend": False, "hoverinfo": "skip", "mode": "lines"}
        figure.add_scatter(x=grid_x.tolist(), y=high_x.tolist(), **edges)
        figure.add_scatter(x=grid_x.tolist(), y=low_x.tolist(), fill="tonexty", fillcolor=f"rgba{_rgb(color)}", **edges)
    figure.add_scatter(x=grid_x.tolist(), y=mean_x.tolist(), name=_label(method), line=line, mode="lines")


def _rgb(color: str) -> tuple[int | float, ...]:
    return (*(int(color[start : start + 2], 16) for start in (1, 3, 5)), _BAND_OPACITY)


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
    cells = zip(*(list(column.cells) for column in table.columns), strict=True)
    rows = ("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
