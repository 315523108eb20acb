"""Stop rules: a search ends before its last trial when more trials gain nothing, or can hardly gain anything.

The study store records that a rule held, and why. A resumed study stays stopped until its rule changes.
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Iterable, Sequence

import optuna
from optuna.distributions import json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import create_trial

from rcn_search.errors import RcnSearchError
from rcn_search.study.space.options import Pbt
from rcn_search.study.space.sections import StopRule
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.trial import Trial, at_least_as_good

MIN_COMPLETE = 20
"""Complete trials before the regret is bounded, as in Optuna's terminator."""
_CHECK_INTERVAL = 5
"""Complete trials from one computation of the bound to the next, which takes a second."""
_MAX_FITTED = 200
"""Best complete trials that the bound is computed from, so that it costs the same in a study of any length."""


class StopCheck:
    """Checks a study's rule against its ended trials; call `add` with each of them in the order in which they ended.

    A trial counts against the search if it was proposed when the best one was known, has trained, and is no better.
    With several objectives the best ones are the Pareto front.
    """

    def __init__(self, rule: StopRule | None, trials: Iterable[Trial]) -> None:
        self._rule = rule
        self._front: list[Trial] = []
        self._complete: list[Trial] = []
        self._num_checked = self._num_since = 0
        self._last_gain_at = float("inf")
        ended = [(trial.result.ended_at or 0.0, trial.number, trial) for trial in trials if trial.result]
        for _, _, trial in sorted(ended):
            self.add(trial)

    def add(self, trial: Trial) -> None:
        """Count a trial that has ended."""
        if self._rule is None or trial.result is None:
            return
        if trial.state == "complete" and trial.is_feasible:
            self._complete.append(trial)
            if not any(at_least_as_good(member, trial) for member in self._front):
                self._front = [member for member in self._front if not at_least_as_good(trial, member)]
                self._front.append(trial)
                self._last_gain_at, self._num_since = trial.result.ended_at or 0.0, 0
                return
        has_trained = bool(trial.epochs) and trial.state != "failed"
        self._num_since += has_trained and (trial.record.created_at or 0.0) >= self._last_gain_at

    def reason(self) -> str | None:
        """Say why the search should end now; None if it should not."""
        if self._rule is None:
            return None
        limit = self._rule.no_gain
        if limit is not None and self._num_since >= limit:
            best = ", ".join(f"trial {trial.number}" for trial in self._front[:1])
            return f"{self._num_since} trials that were proposed after {best} had ended are no better (stop.no_gain)"
        if self._rule.regret is not None and len(self._complete) >= max(MIN_COMPLETE, self._num_checked):
            self._num_checked = len(self._complete) + _CHECK_INTERVAL
            bound_pct = regret_bound_pct(self._complete)
            if bound_pct < self._rule.regret:
                return f"the error is at most {bound_pct:.3g} points above the lowest of the space (stop.regret)"
        return None


def regret_bound_pct(trials: Sequence[Trial]) -> float:
    """Bound how much lower the error could be than the lowest of these complete trials, in percentage points.

    Optuna's terminator does it (Makarova et al. 2022, https://proceedings.mlr.press/v188/makarova22a.html): the
    difference of confidence bounds of a Gaussian process over the parameters that all trials have.
    """
    from optuna.terminator import RegretBoundEvaluator

    best = heapq.nsmallest(_MAX_FITTED, trials, key=lambda trial: (_error_pct(trial), trial.number))
    frozen = [
        create_trial(
            value=_error_pct(trial),
            params=dict(trial.params),
            distributions={name: json_to_distribution(text) for name, text in trial.record.distributions.items()},
        )
        for trial in sorted(best, key=lambda trial: trial.number)
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of a fit that failed, and takes its defaults then
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the module leaves Optuna with version 6; pyproject.toml asks for less
            return float(RegretBoundEvaluator(seed=0).evaluate(frozen, StudyDirection.MINIMIZE))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _error_pct(trial: Trial) -> float:
    assert trial.error_pct is not None
    return trial.error_pct


def check_stop(config: StudyConfig) -> None:
    """Check that the study's stop rule can hold; else RcnSearchError says why not."""
    rule, num_trials = config.stop, config.budget.trials
    if rule is None or num_trials is None:
        return
    if rule.no_gain is not None and rule.no_gain >= num_trials:
        raise RcnSearchError(
            f"no_gain = {rule.no_gain} can never hold: the study has {num_trials} trials, and one of them is the best"
        )
    if rule.regret is None:
        return
    if num_trials <= MIN_COMPLETE:
        raise RcnSearchError(
            f"regret can never hold: it is computed from {MIN_COMPLETE} complete trials on, and the study has "
            f"{num_trials} trials"
        )
    if len(config.objectives) > 1:
        raise RcnSearchError("regret is that of one objective, and the study has several; use no_gain")
    if isinstance(config.scheduler, Pbt):
        raise RcnSearchError("regret can never hold with scheduler pbt, whose settings change in training; use no_gain")
    if not any(first.is_always_sampled for first, *_ in config.search.values()):
        raise RcnSearchError(
            "regret can never hold: it is computed from parameters without 'when', and the study has none; use no_gain"
        )
