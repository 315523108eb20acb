"""Pruners: the validation error of a trial's epoch in, whether to stop the trial out. They know neither Ray nor Optuna.

Each remembers values by trial number and epoch, so the order in which ended trials are reported to it again makes no
difference to its later decisions. A value that is not finite is a failure and not a rank: it is ignored.
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
    """Decides which trials of one study are stopped early."""

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Record the validation error of a trial's epoch; whether to stop the trial now."""


def build_pruner(options: Scheduler, max_epochs: int) -> Pruner:
    """Build the pruner of a study whose trials have ``max_epochs`` epochs.

    >>> from rcn_search.study.space.options import Asha
    >>> pruner = build_pruner(Asha(reduction_factor=2), max_epochs=4)
    >>> [pruner.report(trial, epoch=1, error_pct=error) for trial, error in enumerate([8.0, 9.0, 7.0])]
    [False, True, False]
    """
    match options:
        case Asha(grace_epochs=grace_epochs, reduction_factor=factor, comparison_window=window):
            return AshaPruner(grace_epochs, factor, max_epochs, window=window)
        case Hyperband():
            return HyperbandPruner(options, max_epochs)
        case Median():
            return MedianPruner(options)
        case Pbt():
            return PbtTruncation(options)
        case NoScheduler():
            return NopPruner()


class NopPruner:
    """Lets every trial run to its last epoch."""

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Continue."""
        return False


class AshaPruner:
    """Asynchronous successive halving (Li et al. 2020).

    A trial that reaches a rung continues if it is among the best 1 / ``reduction_factor`` of those that came before it:
    of all, as in Ray Tune, or of the last ``window`` by number. While the sampler learns, trials get better, and nearly
    every one would pass a comparison with the whole past, so that pruning saved little.

    Args:
        reduction_factor: Ratio between the epochs of two rungs, and between the trials that reach them.
        window: Number of trials to compare with; None: all.
        bracket: Number of rungs to leave out at the start, for Hyperband.
    """

    def __init__(
        self,
        grace_epochs: int,
        reduction_factor: float,
        max_epochs: int,
        *,
        window: int | None = None,
        bracket: int = 0,
    ) -> None:
        num_rungs = int(math.log(max_epochs / grace_epochs) / math.log(reduction_factor) - bracket + 1)
        self._quantile, self._window = 1 - 1 / reduction_factor, window
        # From the last rung down: its epoch, the numbers of the trials that reached it, in order, and their scores.
        self._rungs: list[tuple[float, list[int], dict[int, float]]] = [
            (grace_epochs * reduction_factor ** (rung + bracket), [], {}) for rung in reversed(range(num_rungs))
        ]

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop at a rung if too many others were better there."""
        if not math.isfinite(error_pct):
            return False
        for rung_epoch, numbers, scores in self._rungs:
            if epoch >= rung_epoch and trial not in scores:
                compared = numbers if self._window is None else numbers[-self._window :]
                cutoff = _quantile(sorted(scores[number] for number in compared), self._quantile) if compared else None
                insort(numbers, trial)
                scores[trial] = -error_pct
                return cutoff is not None and -error_pct < cutoff
        return False


class HyperbandPruner:
    """Asynchronous Hyperband: trials are assigned to brackets of `AshaPruner` by their number.

    The brackets get trials in Hyperband's proportions (Li et al. 2018, algorithm 1), so each costs about as much.
    """

    def __init__(self, options: Hyperband, max_epochs: int) -> None:
        grace_epochs, factor, num_brackets = options.grace_epochs, options.reduction_factor, options.brackets
        self._brackets = [
            AshaPruner(grace_epochs, factor, max_epochs, bracket=bracket) for bracket in range(num_brackets)
        ]
        # Number of trials of each bracket, from the one that starts at the first rung.
        sizes = [math.ceil(num_brackets / (rest + 1) * factor**rest) for rest in reversed(range(num_brackets))]
        # Spread each bracket's trials evenly over a period of all of them.
        positions = [((index + 0.5) / size, bracket) for bracket, size in enumerate(sizes) for index in range(size)]
        self._assignment = [bracket for _, bracket in sorted(positions)]

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop if the trial's bracket does."""
        return self._brackets[self._assignment[trial % len(self._assignment)]].report(trial, epoch, error_pct)


class MedianPruner:
    """The median stopping rule of Vizier (Golovin et al. 2017, section 3.2.2).

    A trial is stopped if its lowest error so far is above the median, over the other trials that have reached this
    epoch, of their mean error up to it.
    """

    def __init__(self, options: Median) -> None:
        self._options = options
        self._errors_pct: dict[int, dict[int, float]] = defaultdict(dict)
        self._means_pct: dict[int, list[float]] = defaultdict(list)

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop if most others were better."""
        errors_pct = self._errors_pct[trial]
        if epoch in errors_pct or not math.isfinite(error_pct):
            return False
        errors_pct[epoch] = error_pct
        means_pct = self._means_pct[epoch]
        prune = (
            epoch >= self._options.grace_epochs
            and len(means_pct) >= self._options.min_trials
            and min(errors_pct.values()) > median(means_pct)
        )
        insort(means_pct, sum(errors_pct.values()) / len(errors_pct))
        return prune


class PbtTruncation:
    """Truncation selection of population-based training: at each interval the worst trials stop.

    The first trials to reach an interval's end have nothing to be compared with, and continue.
    """

    def __init__(self, options: Pbt) -> None:
        self._options = options
        self._trials: dict[int, set[int]] = defaultdict(set)
        self._errors_pct: dict[int, list[float]] = defaultdict(list)

    def report(self, trial: int, epoch: int, error_pct: float) -> bool:
        """Stop at the end of an interval if most others were better."""
        interval, fraction = self._options.perturbation_interval_epochs, self._options.quantile_fraction
        if epoch % interval or trial in self._trials[epoch] or not math.isfinite(error_pct):
            return False
        errors_pct = self._errors_pct[epoch]
        prune = len(errors_pct) >= 1 / fraction - 1 and error_pct > _quantile(errors_pct, 1 - fraction)
        self._trials[epoch].add(trial)
        insort(errors_pct, error_pct)
        return prune


def _quantile(sorted_values: Sequence[float], fraction: float) -> float:
    """Compute a quantile of sorted values with linear interpolation, exactly as NumPy does."""
    position = fraction * (len(sorted_values) - 1)
    below = math.floor(position)
    low, high, part = sorted_values[below], sorted_values[min(below + 1, len(sorted_values) - 1)], position - below
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
