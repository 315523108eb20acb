"""One HTML page about a study: Optuna's Plotly figures and the trials. It loads nothing from anywhere."""

from __future__ import annotations

import html
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna import visualization
from optuna.trial import TrialState

from rcn_search.errors import RcnSearchError
from rcn_search.study.selection import choose_trials
from rcn_search.study.statistics import StudyStatistics
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.study_report.optuna_export import in_memory
from rcn_search.study_report.status import best_line, counts_line, format_duration, format_parameters

MAX_ROWS = 1000
"""Rows of the table of trials, best first."""


def render_html(study: Study) -> str:
    """Render the page.

    Raises:
        RcnSearchError: Plotly is not installed.
    """
    try:
        from plotly import io, offline
    except ImportError:
        raise RcnSearchError("the HTML page needs Plotly: pip install 'rcn-search[report]'") from None
    statistics = StudyStatistics(study)
    sections = []
    for title, figure in _figures(study):
        if isinstance(figure, str):
            body = f"<p class='missing'>{html.escape(figure)}</p>"
        else:
            figure.update_layout(title=None, template="plotly_white", margin={"t": 30})
            body = io.to_html(figure, include_plotlyjs=False, full_html=False, config={"displaylogo": False})
        sections.append(f"<section><h2>{html.escape(title)}</h2>{body}</section>")
    return _PAGE.format(
        title=html.escape(study.config.study.name),
        uri=html.escape(study.uri),
        made=time.strftime("%Y-%m-%d %H:%M"),
        counts=html.escape(counts_line(statistics).plain),
        best=html.escape(best_line(statistics).plain),
        stop=html.escape(f"stopped: {study.stop.reason}") if study.stop else "",
        spent=html.escape(f"{format_duration(statistics.busy_s)} of training in {statistics.num_epochs} epochs"),
        plotly=offline.get_plotlyjs(),
        figures="".join(sections),
        table=_table(study),
    )


def _figures(study: Study) -> Iterator[tuple[str, Any]]:
    """Yield the title of each figure, and the figure or the reason why there is none."""
    copy = in_memory(study)
    complete = copy.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    names = study.config.objectives
    for index, name in enumerate(names):
        # With one objective Optuna takes no target: then it knows in which direction the best lies.
        target = {} if len(names) == 1 else {"target": lambda trial, index=index: trial.values[index]}
        options = {**target, "target_name": f"{name}, %" if name == "error" else name}
        yield f"History of {name}", _draw(visualization.plot_optimization_history, copy, complete, **options)
        yield f"Importance for {name}", _draw(visualization.plot_param_importances, copy, complete, **options)
        yield f"Slices of {name}", _draw(visualization.plot_slice, copy, complete, **options)
        coordinates = _draw(visualization.plot_parallel_coordinate, copy, complete, **options)
        yield f"Parallel coordinates of {name}", coordinates
    if len(names) in (2, 3):
        yield "Pareto front", _draw(visualization.plot_pareto_front, copy, complete, target_names=list(names))
    yield "Learning curves", _learning_curves(study)


def _draw(plot: Callable[..., Any], study: optuna.Study, complete: list[Any], **options: Any) -> Any:
    if len(complete) < 2:
        return "Two complete trials are needed."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about trials that Optuna leaves out, and experimental figures
        try:
            return plot(study, **options)
        except (ValueError, RuntimeError) as error:
            return f"Optuna cannot draw this: {error}"


def _learning_curves(study: Study) -> Any:
    """Draw all curves as one line with gaps for each state; a browser cannot draw thousands of lines."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for state, color in _COLORS.items():
        trials = [trial for trial in study.trials if trial.state == state and trial.epochs]
        points = [point for trial in trials for point in _curve(trial)]
        if points:
            epochs, errors, names = zip(*points, strict=True)
            figure.add_scatter(
                x=epochs, y=errors, text=names, name=state, mode="lines+markers", line={"color": color, "width": 1},
                marker={"size": 4}, hovertemplate="%{text}<br>epoch %{x}: %{y:.2f} %<extra></extra>",
            )  # fmt: skip
    if not figure.data:
        return "No trial has finished an epoch."
    figure.update_layout(xaxis_title="epoch", yaxis_title="validation error, %")
    return figure


def _curve(trial: Trial) -> Iterator[tuple[int | None, float | None, str | None]]:
    for number in sorted(trial.epochs):
        yield number, trial.epochs[number].val_error_pct, f"trial {trial.number}"
    yield None, None, None


def _table(study: Study) -> str:
    ranked = choose_trials(study, state="", sort="error", limit=None)
    rows = []
    for trial in ranked[:MAX_ROWS]:
        error = "" if trial.error_pct is None else f"{trial.error_pct:.2f}"
        details = trial.result.reason if trial.result and trial.result.reason else format_parameters(trial)
        cells = (str(trial.number), error, str(len(trial.epochs)), format_duration(trial.busy_s), trial.state, details)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    more = f"<p>and {len(ranked) - MAX_ROWS:,} more</p>" if len(ranked) > MAX_ROWS else ""
    head = "".join(f"<th>{name}</th>" for name in ("trial", "error %", "epochs", "time", "state", "parameters"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}"


_COLORS = {"complete": "#0072b2", "pruned": "#bbbbbb", "failed": "#d55e00", "open": "#009e73"}

PAGE_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }}
section {{ overflow-x: auto }}
h1 {{ margin-bottom: 0 }} h2 {{ font-size: 1.1rem; margin: 2.5rem 0 0 }}
.dim, .missing {{ color: #777 }}
.best {{ font-weight: bold }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .15rem 1rem .15rem 0; text-align: right; vertical-align: top; white-space: nowrap }}
th:nth-child(n+5), td:nth-child(n+5) {{ text-align: left }}
td:last-child {{ white-space: normal; overflow-wrap: anywhere }}
tbody tr:nth-child(odd) {{ background: #f6f6f6 }}
</style>
</head>
"""
_PAGE = (
    PAGE_HEAD
    + """<body>
<h1>{title}</h1>
<p class="dim">{uri}, as of {made}</p>
<p>{counts}<br><span class="best">{best}</span><br>{spent}<br>{stop}</p>
<script>{plotly}</script>
{figures}
<section><h2>Trials</h2>{table}</section>
</body>
</html>
"""
)
