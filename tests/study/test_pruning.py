"""Contracts of every pruner, and that ASHA decides as Ray's does."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from rcn_search.config.errors import ConfigError
from rcn_search.study.loading import load_study_config
from rcn_search.study.pruning import HyperbandPruner, Pruner, build_pruner
from rcn_search.study.space.options import Asha, Hyperband, Median, NoScheduler, Pbt

GRACE, EPOCHS, NUM_TRIALS = 2, 18, 60
PRUNERS = {
    "asha": Asha(grace_epochs=GRACE, reduction_factor=3),
    "asha by 1.5": Asha(grace_epochs=GRACE, reduction_factor=1.5),
    "hyperband": Hyperband(grace_epochs=GRACE, reduction_factor=3, brackets=2),
    "median": Median(grace_epochs=GRACE, min_trials=3),
    "pbt": Pbt(perturbation_interval_epochs=GRACE),
    "none": NoScheduler(),
}


def curves(seed: int) -> list[list[float]]:
    """Errors by trial and epoch: falling and noisy, each curve towards another error."""
    draw = random.Random(seed)
    ends = [draw.uniform(5, 12) for _ in range(NUM_TRIALS)]
    return [[end + 20 / epoch + draw.gauss(0, 0.5) for epoch in range(1, EPOCHS + 1)] for end in ends]


def pruned_at(pruner: Pruner, errors: list[list[float]], order: random.Random | None = None) -> list[int | None]:
    """The last epoch of each pruned trial, None of others. Trials run one by one, or in random order."""
    stops: list[int | None] = [None] * len(errors)
    done = [0] * len(errors)
    running = list(range(len(errors)))
    while running:
        trial = order.choice(running) if order else running[0]
        done[trial] += 1
        stop = pruner.report(trial, done[trial], errors[trial][done[trial] - 1])
        if stop:
            stops[trial] = done[trial]
        if stop or done[trial] == EPOCHS:
            running.remove(trial)
    return stops


@pytest.fixture(params=PRUNERS)
def options(request):
    return PRUNERS[request.param]


@pytest.mark.parametrize("seed", range(5))
def test_pruner_prunes_none_before_its_grace_the_best_never_and_the_worst_soon(options, seed):
    errors = curves(seed)
    best = errors[seed * 10] = [min(at_epoch) for at_epoch in zip(*errors, strict=True)]
    for order in (None, random.Random(seed)):
        pruner = build_pruner(options, EPOCHS)
        stops = pruned_at(pruner, errors, order)
        assert all(epoch is None or epoch >= GRACE for epoch in stops)
        assert stops[errors.index(best)] is None
        worst = (pruner.report(1_000, epoch, 99.0) for epoch in range(1, EPOCHS + 1))
        assert any(worst) == (not isinstance(options, NoScheduler))


def test_pruner_with_the_history_reported_again_decides_as_before(options):
    errors = curves(0)
    straight = pruned_at(build_pruner(options, EPOCHS), errors)
    for cut in (1, 7, 30):
        pruner = build_pruner(options, EPOCHS)
        for trial in random.Random(cut).sample(range(cut), cut):  # in another order
            for epoch, error in enumerate(errors[trial][: straight[trial]], 1):
                pruner.report(trial, epoch, error)
        # The trial that was running when the process died reports its epochs again.
        for epoch in range(1, GRACE):
            pruner.report(cut, epoch, errors[cut][epoch - 1])
        for trial in range(cut, NUM_TRIALS):
            stops = next((e for e in range(1, EPOCHS + 1) if pruner.report(trial, e, errors[trial][e - 1])), None)
            assert stops == straight[trial]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_pruner_ignores_errors_that_are_not_finite(options, value):
    errors = curves(0)
    clean, pruner = build_pruner(options, EPOCHS), build_pruner(options, EPOCHS)
    for trial, curve in enumerate(errors):
        for number in range(3):  # would drag every quantile and mean down or up
            assert not any(pruner.report(1_000 + 17 * (3 * trial + number), e, value) for e in range(1, EPOCHS))
        for epoch, error in enumerate(curve, 1):
            assert pruner.report(trial, epoch, error) == clean.report(trial, epoch, error)


@pytest.mark.parametrize(("grace", "reduction"), [(1, 3), (2, 3), (1, 2), (3, 4), (1, 1.5)])
def test_asha_decides_as_ray_does(grace, reduction):
    errors, order = curves(1), random.Random(2)
    errors = [[round(error, 1) for error in curve] for curve in errors]  # ties
    pruner = build_pruner(Asha(grace_epochs=grace, reduction_factor=reduction, comparison_window=None), EPOCHS)
    ray = ASHAScheduler("epoch", "e", "min", max_t=EPOCHS, grace_period=grace, reduction_factor=reduction)
    trials = [SimpleNamespace(trial_id=str(number)) for number in range(NUM_TRIALS)]
    for trial in trials:
        ray.on_trial_add(None, trial)
    steps = [number for number in range(NUM_TRIALS) for _ in range(EPOCHS - 1)]
    order.shuffle(steps)
    done = [0] * NUM_TRIALS
    for number in steps:
        done[number] += 1
        error = errors[number][done[number] - 1]
        action = ray.on_trial_result(None, trials[number], {"epoch": done[number], "e": error})
        assert pruner.report(number, done[number], error) == (action == TrialScheduler.STOP)


def test_asha_with_a_window_compares_with_the_last_trials_by_number():
    pruner = build_pruner(Asha(reduction_factor=2, comparison_window=4), EPOCHS)
    everyone = build_pruner(Asha(reduction_factor=2, comparison_window=None), EPOCHS)
    for number in reversed(range(20)):  # reported in reverse; each trial is better than the one before it
        assert pruner.report(number, 1, 50.0 - number) == everyone.report(number, 1, 50.0 - number) == (number < 19)
    assert not everyone.report(20, 1, 35.0)
    assert pruner.report(20, 1, 35.0), "15 of 20 were worse, but not one of the last four"
    assert not pruner.report(21, 1, 31.5)
    assert build_pruner(Asha(), EPOCHS)._window == 18


def test_hyperband_gives_most_trials_to_the_bracket_that_prunes_first():
    pruner = HyperbandPruner(Hyperband(grace_epochs=1, reduction_factor=3, brackets=3), EPOCHS)
    assert [pruner._assignment.count(bracket) for bracket in range(3)] == [9, 5, 3]
    assert len(set(pruner._assignment[:6])) == 3
    # The last bracket prunes no trial before epoch 9, however bad.
    late = [number for number in range(50) if pruner._assignment[number % 17] == 2]
    for number in late:
        assert not any(pruner.report(number, epoch, 10.0 + number) for epoch in range(1, 9))
    assert pruner.report(late[-1], 9, 99.0) is False
    assert pruner.report(late[0], 9, 100.0) is True


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_load_study_with_a_grace_longer_than_its_trials_is_refused(write_study, name):
    with pytest.raises(ConfigError, match=r"scheduler.grace_epochs = 5 must be at most budget.epochs = 4"):
        load_study_config(write_study(scheduler={"name": name, "grace_epochs": 5}))


def test_median_compares_the_best_error_so_far_not_the_latest():
    pruner = build_pruner(Median(grace_epochs=1, min_trials=2), EPOCHS)
    for trial in (0, 1):
        for epoch in (1, 2):
            pruner.report(trial, epoch, 10.0)
    assert not pruner.report(2, 1, 9.0)
    assert not pruner.report(2, 2, 50.0), "its best is below the median"
    assert pruner.report(3, 1, 11.0), "its best is above it"
