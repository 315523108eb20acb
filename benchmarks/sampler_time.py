"""Processor time of one draw by each sampler, after 50 and after 200 complete trials of search_spaces/rcn.yaml.

    python benchmarks/sampler_time.py

The last line is JSON: for each sampler the median of five draws in ms, by number of complete trials. A grid needs
steps, which this space does not have.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from pathlib import Path

import optuna

from rcn_search.study.loading import load_study_config
from rcn_search.study.samplers import build_sampler

SPACE = Path(__file__).parents[1] / "search_spaces" / "rcn.yaml"
SAMPLERS = ("random", "qmc", "tpe", "cmaes", "nsga2", "gp")
AFTER = (50, 200)
NUM_DRAWS = 5


def draw_ms(name: str) -> dict[int, float]:
    space = load_study_config(str(SPACE), overrides=[f"sampler={{name: {name}}}", "budget.trials=1000"])
    fast = optuna.samplers.RandomSampler(0)
    study = optuna.create_study(sampler=fast)
    times_ms: dict[int, list[float]] = {after: [] for after in AFTER}
    for number in range(max(AFTER) + NUM_DRAWS):
        after = next((each for each in AFTER if each <= number < each + NUM_DRAWS), None)
        study.sampler = fast if after is None else build_sampler(space, number)
        started = time.process_time()
        trial = study.ask()
        values = space.sample(trial)
        if after is not None:
            times_ms[after].append(1e3 * (time.process_time() - started))
        study.tell(trial, math.log10(values["optimizer.lr"] / 5e-3) ** 2 - values["model.branches"])
    return {after: round(statistics.median(times), 1) for after, times in times_ms.items()}


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(json.dumps({name: draw_ms(name) for name in SAMPLERS}))
