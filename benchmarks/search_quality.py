"""How good searches are at equal cost, replayed over recorded learning curves: our default against what others do.

    rcn-search tune search_spaces/recorded.yaml --data data/mtfl      # once: 200 real trials, 40 minutes of two cores
    python benchmarks/search_quality.py studies/recorded [--workers 4] [--budget 60] [--seeds 40]

Methods, all with the same asynchronous successive halving and the same virtual clock:

- the default of a study file: TPE, to which pruned trials are reported as pruned, with their last rung;
- random draws;
- Ray's OptunaSearch as it comes (the class itself, its own TPESampler), to which pruned trials are reported as
  complete;
- the default with a stop rule (``--stop no_gain=30``, may be repeated): what it spends, and what that costs;
- with ``--priors``, the default with a prior of this very space, the most that one can give, and with an unfit one, in
  which the worst trainings are the best.

The error is the lowest validation error seen by the time so many full trainings were spent. Differences are taken seed
by seed. The last line is JSON: for each rival the mean difference (ours less theirs, in points) and its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.tune.search.optuna import OptunaSearch

from rcn_search.simulation.replay import Method, TrialSource, mean_interval, replay, simulate
from rcn_search.simulation.surrogate import RecordedCurves
from rcn_search.study.prior import prior_of
from rcn_search.study.pruning import build_pruner
from rcn_search.study.space.options import Asha, Random, Tpe
from rcn_search.study.space.parameter import Scalar
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study

PLAIN = Asha(comparison_window=None)
"""As Ray has it."""
SHARES = (0.25, 0.5, 1.0)
METHODS = {
    "ours: tpe + asha": Method(sampler=Tpe(), scheduler=Asha()),
    "random + asha": Method(sampler=Random(), scheduler=PLAIN),
}
STOCK = "Ray's OptunaSearch + asha"
STOPS = "stops "
PRIORS = {"prior of this space": False, "unfit prior": True}


class StockTrialSource:
    """Ray's searcher, which gets what Ray Tune reports: each epoch, and at the end the last result in any case."""

    def __init__(self, config: StudyConfig, seed: int) -> None:
        self._config = config
        self._search = OptunaSearch(self._draw, metric="error", mode="min", seed=seed)
        self._params: dict[str, Scalar] = {}
        self._last: dict[int, float] = {}
        self._num_asked = 0

    def _draw(self, trial: Any) -> None:
        """Ray hands over a stand-in for Optuna's trial that has its methods."""
        self._config.sample(trial)

    def ask(self) -> tuple[int, Mapping[str, Scalar]]:
        """See `TrialSource`."""
        number, self._num_asked = self._num_asked, self._num_asked + 1
        self._search.suggest(str(number))
        return number, self._search._ot_trials[str(number)].params

    def report(self, number: int, epoch: int, error_pct: float) -> None:
        """See `TrialSource`."""
        self._last[number] = error_pct
        self._search.on_trial_result(str(number), {"error": error_pct, "training_iteration": epoch})

    def finish(self, number: int, *, complete: bool) -> None:
        """See `TrialSource`."""
        self._search.on_trial_complete(str(number), {"error": self._last.pop(number)})


@lru_cache(maxsize=1)
def recorded(uri: str) -> tuple[StudyConfig, RecordedCurves]:
    """Once in each process."""
    logging.disable(logging.WARNING)
    study = Study.open(uri)
    return study.config, RecordedCurves(study)


def reached(name: str, uri: str, workers: int, budget: float, seed: int) -> list[float]:
    """Errors of one search at each share of its budget."""
    config, curves = recorded(uri)
    if name in PRIORS:
        prior = prior_of([ranked_study(uri, PRIORS[name])], config)
        method = METHODS["ours: tpe + asha"]
        run = simulate(config, curves, method, workers=workers, budget=budget, seed=seed, prior=prior)
    elif name.startswith(STOPS):
        method = METHODS["ours: tpe + asha"].model_copy(
            update={"stop": Method.from_names("tpe", "asha", name[6:]).stop}
        )
        run = simulate(config, curves, method, workers=workers, budget=budget, seed=seed)
    elif name == STOCK:
        source: TrialSource = StockTrialSource(config, seed)
        run = replay(source, build_pruner(PLAIN, config.budget.epochs), curves, workers=workers, budget=budget)
    else:
        run = simulate(config, curves, METHODS[name], workers=workers, budget=budget, seed=seed)
    return [*(run.error_at(share * budget) for share in SHARES), run.num_trials, run.cost]


def ranked_study(uri: str, is_reversed: bool) -> Study:
    """The recorded study, in its own order or with its errors turned around."""
    study = Study.open(uri)
    for trial in study.trials if is_reversed else ():
        trial.epochs = {
            number: epoch.model_copy(update={"val_error_pct": 1_000 / epoch.val_error_pct})
            for number, epoch in trial.epochs.items()
        }
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--budget", type=float, default=60, help="of each search, in full trainings")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--stop", action="append", default=[], help="rule like no_gain=30")
    parser.add_argument("--priors", action="store_true")
    arguments = parser.parse_args()
    _, curves = recorded(arguments.study)
    print(f"surrogate: explains {100 * curves.explained_variance:.0f} % of a curve left out")
    results: dict[str, NDArray[np.float64]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        rules = [f"{STOPS}{rule}" for rule in arguments.stop]
        for name in (*METHODS, STOCK, *rules, *(PRIORS if arguments.priors else ())):
            one = partial(reached, name, arguments.study, arguments.workers, arguments.budget)
            results[name] = np.array(list(pool.map(one, range(arguments.seeds))))
    ours, *rivals = results
    found: dict[str, Any] = {"workers": arguments.workers, "seeds": arguments.seeds}
    print(f"{'full trainings':26}" + "".join(f"{share * arguments.budget:7g}" for share in SHARES) + "   trials  spent")
    for name, errors in results.items():
        print(
            f"{name:26}"
            + "".join(f"{error:7.2f}" for error in errors.mean(0)[:3])
            + f"{errors.mean(0)[3]:9.0f}{errors.mean(0)[4]:7.1f}"
        )
    for name in rivals:
        for place, share in enumerate(SHARES):
            gain = results[ours][:, place] - results[name][:, place]
            low, high = mean_interval(gain)
            print(f"ours less {name} at {share * arguments.budget:g}: {gain.mean():+.2f} ({low:+.2f} to {high:+.2f})")
            found[f"{name} at {share * arguments.budget:g}"] = [round(each, 3) for each in (gain.mean(), low, high)]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
