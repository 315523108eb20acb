"""Comparison of studies: best error against trials, training hours and cost, over seeds where there are several.

Studies that differ in their seeds alone are runs of one method. Array names end in their axes: s seeds, x grid points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rich.table import Table
from scipy import stats

from rcn_search.config.differences import differences
from rcn_search.config.schema import canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bootstrap import Array
from rcn_search.evaluation.figures.labels import make_distinct
from rcn_search.study.budget_use import Use, limits
from rcn_search.study.identity import identity
from rcn_search.study.store import StudyStore
from rcn_search.study.study import Study

Measure = Literal["trials", "hours", "cost"]
LABELS: dict[Measure, str] = {
    "trials": "ended trials",
    "hours": "hours of training, summed over trials",
    "cost": "cost of the trials, by the prices of budget.max_cost",
}
MAX_DIFFERENCES = 20
_NOT_COMPARED = ("study", "data_fingerprint")


@dataclass(frozen=True)
class Method:
    """Studies that differ in their seeds alone."""

    name: str
    studies: tuple[Study, ...]
    identity: dict[str, Any]

    def curve(self, measure: Measure) -> tuple[Array, Array]:
        """Return points x of a measure and the lowest error (s, x) in percent that each study has found until there.

        The points end where the shortest of the studies does, and begin where each has a complete trial.
        """
        curves = [_best_so_far(study, measure) for study in self.studies]
        end = min(curve_x[-1] for curve_x, _ in curves)
        start = max(curve_x[np.isfinite(error_x).argmax()] for curve_x, error_x in curves)
        grid_x = np.unique(np.concatenate([curve_x for curve_x, _ in curves]))
        grid_x = grid_x[(grid_x >= start) & (grid_x <= end)]
        error_sx = [error_x[np.searchsorted(curve_x, grid_x, side="right") - 1] for curve_x, error_x in curves]
        return grid_x, np.stack(error_sx)

    def total(self, measure: Measure) -> float:
        """Return the largest value of a measure that every study has reached."""
        return float(min(_best_so_far(study, measure)[0][-1] for study in self.studies))

    def error_at(self, measure: Measure, limit: float) -> Array:
        """Return the lowest error (s,) of each study within a limit; NaN if no trial is complete by then."""
        errors = []
        for study in self.studies:
            curve_x, error_x = _best_so_far(study, measure)
            index = np.searchsorted(curve_x, limit, side="right") - 1
            errors.append(error_x[index] if index >= 0 else np.nan)
        return np.array(errors)


def mean_and_interval(error_sx: Array) -> tuple[Array, Array, Array]:
    """Compute the mean over seeds (x,), and its 95 % interval by Student's t; of one seed the interval is the mean."""
    mean_x, num_seeds = error_sx.mean(axis=0), len(error_sx)
    if num_seeds == 1:
        return mean_x, mean_x, mean_x
    half_x = stats.t.ppf(0.975, num_seeds - 1) * error_sx.std(axis=0, ddof=1) / np.sqrt(num_seeds)
    return mean_x, mean_x - half_x, mean_x + half_x


def group_studies(studies: Sequence[Study]) -> list[Method]:
    """Group studies by what makes them the same study but for their names and seeds.

    Raises:
        RcnSearchError: A study is named twice, has no complete trial, or is a fixed-run study.
    """
    if len({study.uri for study in studies}) < len(studies):
        raise RcnSearchError("a study is named twice; name each of them once")
    groups: dict[str, tuple[dict[str, Any], list[Study]]] = {}
    for study in studies:
        if study.config.runs:
            raise RcnSearchError(f"{study.uri} is a fixed-run study: it searches nothing. See rcn-search study trials")
        if study.best_trial is None:
            raise RcnSearchError(f"no trial of {study.uri} is complete yet")
        document = identity(study.config, StudyStore(study.uri).read_study()["data_fingerprint"])
        document["base"].pop("seed")
        compared = {key: value for key, value in document.items() if key != "study"}
        groups.setdefault(canonical_hash(compared), (document, []))[1].append(study)
    names = [members[0].config.study.name for _, members in groups.values()]
    names = make_distinct(names, [members[0].uri for _, members in groups.values()])
    return [
        Method(name, tuple(members), document) for name, (document, members) in zip(names, groups.values(), strict=True)
    ]


def _best_so_far(study: Study, measure: Measure) -> tuple[Array, Array]:
    """Return the measure after each ended trial, and the lowest error until then; NaN before one is complete."""
    ended = [trial for trial in study.trials if trial.result]
    ended.sort(key=lambda trial: (trial.result.ended_at or 0.0, trial.number) if trial.result else (0.0, 0))
    error_x = np.array(
        [trial.error_pct if trial.state == "complete" and trial.is_feasible else np.nan for trial in ended], dtype=float
    )
    step_x = np.array([_step(study, measure, trial.busy_s) for trial in ended])
    return np.cumsum(step_x), np.fmin.accumulate(error_x)


def _step(study: Study, measure: Measure, busy_s: float) -> float:
    budget = study.config.budget
    if measure == "trials":
        return 1.0
    if measure == "hours":
        return busy_s / 3600
    workers = budget.workers_per_trial
    use = Use(cpu_s=workers * budget.cpus_per_trial * busy_s, gpu_s=workers * budget.gpus_per_trial * busy_s)
    return next(limit.used for limit in limits(budget, use) if limit.key == "max_cost")


def measures(methods: Sequence[Method]) -> list[Measure]:
    """List the measures that all studies have: cost only if each has prices."""
    has_prices = all(study.config.budget.max_cost for method in methods for study in method.studies)
    return ["trials", "hours", *(["cost"] if has_prices else [])]  # type: ignore[list-item]


def comparison_table(methods: Sequence[Method]) -> Table:
    """Make a table of methods: their best errors at their ends, and at the end of the shortest of all studies."""
    shown = measures(methods)
    common = {measure: min(method.total(measure) for method in methods) for measure in shown}
    table = Table(box=None, pad_edge=False)
    table.add_column("study", overflow="fold")
    columns = ["seeds", "trials", "hours", "best %", "95 % interval"]
    for column in [*columns, *(f"best % at {common[measure]:.4g} {measure}" for measure in shown)]:
        table.add_column(column, justify="right")
    for method in methods:
        error_s = np.array([study.best_trial.error_pct for study in method.studies if study.best_trial], dtype=float)
        best, low, high = (float(value) for value in mean_and_interval(error_s))
        at = [np.mean(method.error_at(measure, common[measure])) for measure in shown]
        table.add_row(
            method.name,
            str(len(method.studies)),
            f"{method.total('trials'):.0f}",
            f"{method.total('hours'):.2f}",
            f"{best:.2f}",
            f"{low:.2f} to {high:.2f}" if len(error_s) > 1 else "",
            *("" if np.isnan(error) else f"{error:.2f}" for error in at),
        )
    return table


def describe_differences(methods: Sequence[Method]) -> Iterator[str]:
    """Yield lines that say how each method differs from the first, and whether their errors can be compared."""
    first = methods[0].identity
    for method in methods[1:]:
        if _validation(method.identity) != _validation(first):
            yield (
                f"{method.name} and {methods[0].name} are validated on other images, or in another way: their errors "
                "cannot be compared"
            )
        lines = list(differences(_compared(first), _compared(method.identity)))
        yield f"{method.name} differs from {methods[0].name}:" if lines else f"{method.name}: the same search"
        yield from (f"  {line}" for line in lines[:MAX_DIFFERENCES])
        if len(lines) > MAX_DIFFERENCES:
            yield f"  and {len(lines) - MAX_DIFFERENCES} more"


def _compared(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _NOT_COMPARED}


def _validation(document: dict[str, Any]) -> tuple[Any, ...]:
    base = document["base"]
    how = {key: value for key, value in base["validation"].items() if key not in ("save", "every_epochs")}
    augment = base["augment"] if how["augment"] else None
    return document["data_fingerprint"], base["data"]["val_split"], base["data"]["num_val"], how, augment
