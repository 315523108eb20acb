"""A search replayed over recorded learning curves: real sampler, real stopping rule, and a clock that costs nothing."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.loading import validate
from rcn_search.config.schema import FrozenModel
from rcn_search.simulation.surrogate import Curve, RecordedCurves
from rcn_search.study.pruning import Pruner, build_pruner
from rcn_search.study.records import EpochResult, TrialRecord, TrialResult
from rcn_search.study.samplers import check_sampler
from rcn_search.study.space.options import Sampler, Scheduler
from rcn_search.study.space.parameter import Scalar
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import StudyStore
from rcn_search.study.study import Study

START_S = 0.5
"""Seconds between two trials of a worker (benchmarks/trial_start.py)."""
_MANY = 10**6
"""Trials: the cost ends a search."""
_NUM_RESAMPLES = 2_000


class _NullStore(StudyStore):
    """Of a search that has nothing to lose."""

    def space(self) -> dict[str, Any]:
        """Of no study before it."""
        return {}

    def trials(self) -> Iterator[tuple[TrialRecord, TrialResult | None]]:
        """None yet."""
        return iter(())

    def suggest(self, suggestion: TrialRecord) -> None:
        """Nothing."""

    def finish(self, number: int, outcome: TrialResult) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class SimulatedSearch:
    """One simulated search.

    Attributes:
        cost: After each epoch of any trial, in order: worker-seconds spent, in full trainings.
        best_error_pct: The lowest validation error that had been seen by then.
        wall_s: Of the virtual clock, when the search ended.
        num_trials: Trials started.
    """

    cost_e: NDArray[np.float64]
    best_error_pct: NDArray[np.float64]
    wall_s: float
    num_trials: int

    def at(self, cost: float) -> float:
        """The lowest error seen when so many full trainings had been spent; NaN before the first epoch ended."""
        index = int(np.searchsorted(self.cost_e, cost, side="right")) - 1
        return float(self.best_error_pct[index]) if index >= 0 else float("nan")


class Method(FrozenModel):
    """What draws trials and what stops them."""

    sampler: Sampler
    scheduler: Scheduler

    @classmethod
    def from_names(cls, sampler: str, scheduler: str) -> Method:
        """Both with the defaults of a study file.

        Raises:
            ConfigError: There is none of that name; the message lists those that are.
        """
        document = {"sampler": {"name": sampler}, "scheduler": {"name": scheduler}}
        return validate(cls, document, source="simulate", lines={})

    def __str__(self) -> str:
        """``tpe + asha``."""
        return f"{self.sampler.name} + {self.scheduler.name}"


def simulate(
    space: StudyConfig, curves: RecordedCurves, method: Method, *, workers: int, cost: float, seed: int
) -> SimulatedSearch:
    """One search until its workers have spent ``cost``.

    Args:
        space: Of the recorded study; what is drawn and for how many epochs.
        curves: What trials turn out to be.
        method: In place of the study's own.
        workers: Trials at once.
        cost: In full trainings: the mean seconds of a recorded trial.
        seed: Of the sampler.

    Raises:
        RcnSearchError: The sampler cannot draw from this space.
    """
    changed = {
        "study": space.study.model_copy(update={"seed": seed}),
        "budget": space.budget.model_copy(update={"trials": None}),
        "sampler": method.sampler,
        "scheduler": method.scheduler,
        "initial_trials": (),
    }
    space = space.model_copy(update=changed)
    check_sampler(space)
    drawn = StudyTrialSource(space.model_copy(update={"budget": space.budget.model_copy(update={"trials": _MANY})}))
    return replay(drawn, build_pruner(space.scheduler, space.budget.epochs), curves, workers=workers, cost=cost)


class TrialSource(Protocol):
    """What asks for trials and is told of them: a study, or another tool, which a benchmark puts in its place."""

    def ask(self) -> tuple[int, Mapping[str, Scalar]] | None:
        """Number and parameters of the next trial; None after the last."""

    def report(self, number: int, epoch: int, error_pct: float) -> None:
        """A trial has trained one more epoch."""

    def finish(self, number: int, *, complete: bool) -> None:
        """A trial has ended, by itself or stopped."""


class StudyTrialSource:
    """A study without a ledger."""

    def __init__(self, space: StudyConfig) -> None:
        self._study = Study("simulated", space, _NullStore("simulated"))

    def ask(self) -> tuple[int, Mapping[str, Scalar]] | None:
        """See `Draws`."""
        trial = self._study.ask()
        return (trial.number, trial.record.params) if trial else None

    def report(self, number: int, epoch: int, error_pct: float) -> None:
        """See `Draws`."""
        times = {"train_s": 0.0, "val_s": 0.0}
        report = EpochResult(epoch=epoch, loss=0.0, val_error_pct=error_pct, best_error_pct=error_pct, **times)
        self._study.report(number, [report])

    def finish(self, number: int, *, complete: bool) -> None:
        """See `Draws`."""
        self._study.finish(number, "complete" if complete else "pruned")


def replay(draws: TrialSource, rule: Pruner, curves: RecordedCurves, *, workers: int, cost: float) -> SimulatedSearch:
    """A search by whatever ``draws`` and whatever ``rule`` stops; see `simulate`."""
    search = _Search(draws, rule, curves)
    for _ in range(workers):
        search.start()
    while search.ends and search.spent_s < cost * curves.full_training_s:
        search.step()
    return search.result()


class _Search:
    """Where a simulated search stands."""

    def __init__(self, draws: TrialSource, rule: Pruner, curves: RecordedCurves) -> None:
        self.draws, self.rule, self.curves = draws, rule, curves
        self.drawn: dict[int, Curve] = {}
        self.ends: list[tuple[float, int, int]] = []  # of epochs to come: when, whose, which
        self.now, self.spent_s = 0.0, 0.0
        self.costs: list[float] = []
        self.errors: list[float] = []

    def start(self) -> None:
        """A worker is free."""
        asked = self.draws.ask()
        if asked is not None:  # a grid has an end
            number, params = asked
            self.drawn[number] = curve = self.curves.of(params)
            heapq.heappush(self.ends, (self.now + START_S + curve.epoch_s, number, 1))

    def step(self) -> None:
        """The next epoch ends."""
        self.now, number, epoch = heapq.heappop(self.ends)
        curve = self.drawn[number]
        error_pct, is_last = float(curve.error_pct_e[epoch - 1]), epoch == len(curve.error_pct_e)
        self.spent_s += curve.epoch_s + (START_S if epoch == 1 else 0)
        self.costs.append(self.spent_s / self.curves.full_training_s)
        self.errors.append(min([error_pct, *self.errors[-1:]]))
        self.draws.report(number, epoch, error_pct)
        stop = self.rule.report(number, epoch, error_pct)
        if not (stop or is_last):
            heapq.heappush(self.ends, (self.now + curve.epoch_s, number, epoch + 1))
            return
        self.draws.finish(number, complete=is_last)
        self.start()

    def result(self) -> SimulatedSearch:
        """As far as it came."""
        return SimulatedSearch(
            cost_e=np.array(self.costs),
            best_error_pct=np.array(self.errors),
            wall_s=self.now,
            num_trials=len(self.drawn),
        )


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """A method over several seeds.

    Attributes:
        method: Of all its runs.
        runs: One for each seed.
    """

    method: Method
    searches: tuple[SimulatedSearch, ...]

    @property
    def name(self) -> str:
        """Of the method."""
        return str(self.method)

    def errors_at(self, cost: float) -> NDArray[np.float64]:
        """Of each seed, NaN for one that had seen no epoch by then."""
        return np.array([run.at(cost) for run in self.searches])


def compare_methods(
    space: StudyConfig,
    curves: RecordedCurves,
    methods: Sequence[Method],
    *,
    workers: int,
    cost: float,
    seeds: int,
    on_run: Callable[[int, int], None] = lambda done, total: None,
) -> list[MethodResult]:
    """Each method over the same seeds.

    Args:
        space: Of the recorded study.
        curves: Its own.
        methods: To compare.
        workers: Trials at once.
        cost: Of each search, in full trainings.
        seeds: Searches of each method.
        on_run: Called with (searches done, searches in all).

    Raises:
        RcnSearchError: A sampler cannot draw from the space.
    """
    contenders = []
    for index, method in enumerate(methods):
        runs = []
        for seed in range(seeds):
            runs.append(simulate(space, curves, method, workers=workers, cost=cost, seed=seed))
            on_run(index * seeds + seed + 1, len(methods) * seeds)
        contenders.append(MethodResult(method=method, searches=tuple(runs)))
    return contenders


def mean_interval(values: NDArray[np.float64], share: float = 0.95) -> tuple[float, float]:
    """Of the mean, by drawing the seeds anew with replacement."""
    means = np.random.default_rng(0).choice(values, (_NUM_RESAMPLES, len(values))).mean(1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
