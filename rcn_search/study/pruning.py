"""Rules for stopping a trial early: what was reported in, go on or stop out. They know neither Ray nor Optuna.

Each remembers values by trial number and epoch, so that the order in which finished trials are reported to it again
makes no difference to what it decides later. A value that is no number is a failure, not a rank: it is passed over.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Protocol

from rcn_search.study.space.options import Asha, Hyperband, Median, NoScheduler, Pbt, Scheduler


class Pruner(Protocol):
    """Decides for one study."""

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Note the error of a trial after an epoch; whether the trial is to be stopped now."""


def build_pruner(options: Scheduler, max_epochs: int) -> Pruner:
    """The rule of a study whose trials have ``max_epochs`` epochs."""
    match options:
        case Asha(grace_epochs=grace, reduction_factor=reduction, comparison_window=window):
            return AshaPruner(grace, reduction, max_epochs, window=window)
        case Hyperband():
            return HyperbandPruner(options, max_epochs)
        case Median():
            return MedianPruner(options)
        case Pbt():
            return PbtTruncation(options)
        case NoScheduler():
            return NopPruner()


class NopPruner:
    """Every trial runs to its end."""

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Go on."""
        return False


class AshaPruner:
    """Asynchronous successive halving.

    A trial that reaches a rung goes on if it is among the best 1 / ``reduction`` of those that came before it: of all,
    as Ray decides, or of the last ``window`` by number. While the sampler learns, trials become better; against all of
    the past nearly every one of them goes on, and stopping early saves little.
    """

    def __init__(
        self, grace_epochs: int, reduction: float, max_epochs: int, *, window: int | None = None, bracket: int = 0
    ) -> None:
        num_rungs = int(math.log(max_epochs / grace_epochs) / math.log(reduction) - bracket + 1)
        self._keep, self._window = 1 - 1 / reduction, window
        # From the last rung down, each with the trials that came by, by number, and their scores, the best last.
        self._rungs: list[tuple[float, list[int], dict[int, float]]] = [
            (grace_epochs * reduction ** (rung + bracket), [], {}) for rung in reversed(range(num_rungs))
        ]

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop at a rung where others were better."""
        if not math.isfinite(error_pct):
            return False
        for milestone, came_by, scores in self._rungs:
            if epoch >= milestone and trial not in scores:
                last = came_by if self._window is None else came_by[-self._window :]
                worse = bool(last) and -error_pct < _quantile(sorted(scores[each] for each in last), self._keep)
                insort(came_by, trial)
                scores[trial] = -error_pct
                return worse
        return False


class HyperbandPruner:
    """Asynchronous Hyperband: trials are dealt to brackets of `Halving` by their number.

    The brackets get trials in Hyperband's proportions (Li et al. 2018, algorithm 1), so that each costs about as much.
    """

    def __init__(self, options: Hyperband, max_epochs: int) -> None:
        self._brackets = [
            AshaPruner(options.grace_epochs, options.reduction_factor, max_epochs, bracket=bracket)
            for bracket in range(options.brackets)
        ]
        last = options.brackets - 1
        sizes = [
            math.ceil((last + 1) / (last - bracket + 1) * options.reduction_factor ** (last - bracket))
            for bracket in range(options.brackets)
        ]
        places = [((index + 0.5) / size, bracket) for bracket, size in enumerate(sizes) for index in range(size)]
        self._deal = [bracket for _, bracket in sorted(places)]

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop when its bracket does."""
        return self._brackets[self._deal[trial % len(self._deal)]].report(trial, epoch, error_pct)


class MedianPruner:
    """The median stopping rule of Vizier (Golovin et al. 2017, section 3.2.2).

    A trial is stopped when its lowest error so far is higher than the median, over the other trials that have come as
    far, of their mean error up to this epoch.
    """

    def __init__(self, options: Median) -> None:
        self._options = options
        self._errors: dict[int, dict[int, float]] = defaultdict(dict)
        self._means: dict[int, list[float]] = defaultdict(list)

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop where most others were better."""
        errors = self._errors[trial]
        if epoch in errors or not math.isfinite(error_pct):
            return False
        errors[epoch] = error_pct
        others = self._means[epoch]
        worse = (
            epoch >= self._options.grace_epochs
            and len(others) >= self._options.min_trials
            and min(errors.values()) > median(others)
        )
        insort(others, sum(errors.values()) / len(errors))
        return worse


class PbtTruncation:
    """Truncation selection: at every interval a trial stops that is among the worst of those that came as far.

    The first ones to come by have nobody to be compared with, and go on.
    """

    def __init__(self, options: Pbt) -> None:
        self._options = options
        self._came_by: dict[int, set[int]] = defaultdict(set)
        self._errors: dict[int, list[float]] = defaultdict(list)

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop at the end of an interval where most others were better."""
        if (
            epoch % self._options.perturbation_interval_epochs
            or trial in self._came_by[epoch]
            or not math.isfinite(error_pct)
        ):
            return False
        errors, quantile = self._errors[epoch], self._options.quantile_fraction
        worst = len(errors) >= 1 / quantile - 1 and error_pct > _quantile(errors, 1 - quantile)
        self._came_by[epoch].add(trial)
        insort(errors, error_pct)
        return worst


def _quantile(sorted_values: Sequence[float], share: float) -> float:
    """NumPy's, linear between two values; of values that are sorted already."""
    place = share * (len(sorted_values) - 1)
    below = math.floor(place)
    low, high, part = sorted_values[below], sorted_values[min(below + 1, len(sorted_values) - 1)], place - below
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
