"""A search replayed over recorded learning curves: real sampler, real pruner, and a virtual clock.

Shape letter: e epochs, of all trials together, in the order in which they end.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.loading import apply_override, validate
from rcn_search.config.schema import FrozenModel
from rcn_search.simulation.surrogate import Curve, RecordedCurves
from rcn_search.study.pruning import Pruner, build_pruner
from rcn_search.study.records import EpochResult, PriorRecord, StopRecord, StudyError, TrialRecord, TrialResult
from rcn_search.study.samplers import check_sampler
from rcn_search.study.space.options import Sampler, Scheduler
from rcn_search.study.space.parameter import Scalar
from rcn_search.study.space.sections import StopRule
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.stopping import check_stop
from rcn_search.study.store import StudyStore
from rcn_search.study.study import Study

NO_STOP = "none"
MAX_TRIALS = 10**6
"""Trials of a simulated search: its worker time is used up before, or its stop rule holds."""
START_S = 0.5
"""Seconds between two trials of a worker (benchmarks/trial_start.py)."""


class _NullStore(StudyStore):
    """Store of a study that is never saved."""

    def __init__(self, uri: str, prior: PriorRecord | None = None) -> None:
        super().__init__(uri)
        self._prior = prior

    def read_prior(self) -> PriorRecord | None:
        return self._prior

    def read_study(self) -> dict[str, Any]:
        return {}

    def read_trials(
        self, on_damaged: Callable[[int, StudyError], None] | None = None
    ) -> Iterator[tuple[TrialRecord, TrialResult | None]]:
        return iter(())

    def write_trial(self, record: TrialRecord) -> None:
        pass

    def write_result(self, number: int, result: TrialResult) -> None:
        pass

    def read_stop(self, rule: StopRule | None, num_trials: int) -> StopRecord | None:
        return None

    def write_stop(self, stop: StopRecord) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class SimulatedSearch:
    """Result of one simulated search.

    Attributes:
        cost_e: Worker time spent by the end of each epoch, in full trainings.
        best_error_pct_e: Lowest validation error by then.
        wall_s: Virtual seconds until the search ended.
        num_trials: Number of trials that started.
    """

    cost_e: NDArray[np.float64]
    best_error_pct_e: NDArray[np.float64]
    wall_s: float
    num_trials: int

    @property
    def cost(self) -> float:
        """Full trainings spent until the search ended."""
        return float(self.cost_e[-1])

    def error_at(self, cost: float) -> float:
        """Return the lowest error by the time ``cost`` full trainings were spent; NaN before the first epoch ended."""
        index = int(np.searchsorted(self.cost_e, cost, side="right")) - 1
        return float(self.best_error_pct_e[index]) if index >= 0 else float("nan")


class Method(FrozenModel):
    """A sampler with a scheduler and perhaps a stop rule."""

    sampler: Sampler
    scheduler: Scheduler
    stop: StopRule | None = None

    @classmethod
    def from_names(cls, sampler: str, scheduler: str, stop: str = NO_STOP) -> Method:
        """Make a method with the defaults of a study file; ``stop`` is a rule like ``no_gain=30``, or ``none``."""
        document: dict[str, Any] = {"sampler": {"name": sampler}, "scheduler": {"name": scheduler}}
        if stop != NO_STOP:
            apply_override(document, f"stop.{stop}", {})
        return validate(cls, document, source="simulate", lines={})

    def __str__(self) -> str:
        """Format as ``tpe + asha``, with the stop rule behind it."""
        return f"{self.sampler.name} + {self.scheduler.name}" + (f", {self.stop}" if self.stop else "")


def simulate(
    config: StudyConfig,
    curves: RecordedCurves,
    method: Method,
    *,
    workers: int,
    budget: float,
    seed: int,
    prior: PriorRecord | None = None,
) -> SimulatedSearch:
    """Simulate one search until its workers have spent ``budget``.

    Args:
        config: Configuration of the recorded study: what is searched, and for how many epochs.
        curves: Learning curves of the trials.
        method: Sampler and scheduler, in place of the study's own.
        workers: Number of trials that run at once.
        budget: Worker time, in full trainings (mean time of a recorded trial).
        seed: Seed of the sampler.
        prior: What is known from other studies.
    """
    config = config.model_copy(
        update={
            "study": config.study.model_copy(update={"seed": seed}),
            "budget": config.budget.model_copy(update={"trials": None}),
            "sampler": method.sampler,
            "scheduler": method.scheduler,
            "stop": method.stop,
            "initial_trials": (),
        }
    )
    check_sampler(config)
    check_stop(config.with_trials(MAX_TRIALS))
    pruner = build_pruner(config.scheduler, config.budget.epochs)
    source = _StudyTrialSource(config.with_trials(MAX_TRIALS), prior)  # the worker time ends the search before
    return replay(source, pruner, curves, workers=workers, budget=budget)


class TrialSource(Protocol):
    """Where a simulated search gets its trials: a study, or another tool in a benchmark."""

    def ask(self) -> tuple[int, Mapping[str, Scalar]] | None:
        """Return number and parameters of the next trial; None after the last."""

    def report(self, number: int, epoch: int, error_pct: float) -> None:
        """Record one more epoch of a trial."""

    def finish(self, number: int, *, complete: bool) -> None:
        """Record the end of a trial: complete, or pruned."""


class _StudyTrialSource:
    """Trials of a study that is never saved."""

    def __init__(self, config: StudyConfig, prior: PriorRecord | None = None) -> None:
        self._study = Study("simulated", config, _NullStore("simulated", prior))

    def ask(self) -> tuple[int, Mapping[str, Scalar]] | None:
        trial = self._study.ask()
        return (trial.number, trial.params) if trial else None

    def report(self, number: int, epoch: int, error_pct: float) -> None:
        times = {"train_s": 0.0, "val_s": 0.0}
        result = EpochResult(epoch=epoch, loss=0.0, val_error_pct=error_pct, best_error_pct=error_pct, **times)
        self._study.report(number, [result])

    def finish(self, number: int, *, complete: bool) -> None:
        self._study.finish(number, "complete" if complete else "pruned")


def replay(
    source: TrialSource, pruner: Pruner, curves: RecordedCurves, *, workers: int, budget: float
) -> SimulatedSearch:
    """Simulate a search with any source of trials and any pruner; the other arguments are those of `simulate`."""
    simulation = _Simulation(source, pruner, curves)
    for _ in range(workers):
        simulation.start_trial()
    while simulation.epoch_ends and simulation.spent_s < budget * curves.full_training_s:
        simulation.end_epoch()
    return SimulatedSearch(
        cost_e=np.array(simulation.costs),
        best_error_pct_e=np.array(simulation.best_errors_pct),
        wall_s=simulation.now,
        num_trials=len(simulation.curve_of),
    )


class _Simulation:
    """State of a simulated search."""

    def __init__(self, source: TrialSource, pruner: Pruner, curves: RecordedCurves) -> None:
        self.source, self.pruner, self.curves = source, pruner, curves
        self.curve_of: dict[int, Curve] = {}
        self.epoch_ends: list[tuple[float, int, int]] = []  # heap of time, trial and epoch
        self.now, self.spent_s = 0.0, 0.0
        self.costs: list[float] = []
        self.best_errors_pct: list[float] = []

    def start_trial(self) -> None:
        if asked := self.source.ask():  # a grid has an end
            number, params = asked
            self.curve_of[number] = curve = self.curves.predict(params)
            heapq.heappush(self.epoch_ends, (self.now + START_S + curve.epoch_s, number, 1))

    def end_epoch(self) -> None:
        self.now, number, epoch = heapq.heappop(self.epoch_ends)
        curve = self.curve_of[number]
        error_pct, is_last = float(curve.error_pct_e[epoch - 1]), epoch == len(curve.error_pct_e)
        self.spent_s += curve.epoch_s + (START_S if epoch == 1 else 0)
        self.costs.append(self.spent_s / self.curves.full_training_s)
        self.best_errors_pct.append(min([error_pct, *self.best_errors_pct[-1:]]))
        self.source.report(number, epoch, error_pct)
        is_pruned = self.pruner.report(number, epoch, error_pct)
        if not (is_pruned or is_last):
            heapq.heappush(self.epoch_ends, (self.now + curve.epoch_s, number, epoch + 1))
            return
        self.source.finish(number, complete=is_last)
        self.start_trial()


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """Searches of a method, one for each seed."""

    method: Method
    searches: tuple[SimulatedSearch, ...]

    @property
    def name(self) -> str:
        """Name of the method."""
        return str(self.method)

    def errors_at(self, cost: float) -> NDArray[np.float64]:
        """Return the error of each seed at a cost; see `SimulatedSearch.error_at`."""
        return np.array([search.error_at(cost) for search in self.searches])


def compare_methods(
    config: StudyConfig,
    curves: RecordedCurves,
    methods: Sequence[Method],
    *,
    workers: int,
    budget: float,
    num_seeds: int,
    on_search: Callable[[int, int], None] = lambda done, total: None,
) -> list[MethodResult]:
    """Simulate searches of each method with the same seeds; the other arguments are those of `simulate`.

    ``on_search`` is called with the number of searches done and of searches in all.
    """
    results = []
    for index, method in enumerate(methods):
        searches = []
        for seed in range(num_seeds):
            searches.append(simulate(config, curves, method, workers=workers, budget=budget, seed=seed))
            on_search(index * num_seeds + seed + 1, len(methods) * num_seeds)
        results.append(MethodResult(method=method, searches=tuple(searches)))
    return results


def mean_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Compute a bootstrap confidence interval of a mean over seeds."""
    means = np.random.default_rng(0).choice(values, (2_000, len(values))).mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
