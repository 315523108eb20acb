"""What a search process does per event, when nothing is trained: proposal, rungs, study store, sampler's history.

    python benchmarks/search_process_overhead.py [--trials 10000] [--slots 64]

An event is a trial that starts, an epoch that is reported, or a trial that ends. All of them go through what a real
search uses (StudySearcher, the study's scheduler, StudyRecorder, a study store on the local disk) with the TPE and ASHA
of search_spaces/rcn.yaml; only Tune's own loop is left out. Errors follow a formula. Between the two
measurements trials are drawn at random, which is quicker; `--all-tpe` draws all as the study says.

The last line is JSON: ``ms_per_event_1k`` and ``ms_per_event_10k``, the mean over the last ``--window`` trials before
the 1,000th and the last, and by kind of event; ``cpu_…`` is the same in processor time, which other programs on the
machine do not change; ``open_10k_s``, to open the study afterwards with `Study.open`, from disk cache.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from rcn_search.search.tune_scheduler import build_scheduler
from rcn_search.search.tune_searcher import StudyRecorder, StudySearcher
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.options import Random
from rcn_search.study.study import Study

SPACE = Path(__file__).parents[1] / "search_spaces" / "rcn.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=64, help="trials at once")
    parser.add_argument("--window", type=int, default=200, help="trials of each measurement")
    parser.add_argument("--all-tpe", action="store_true", help="draw all trials as the study says")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        space = load_study_config(
            str(SPACE), overrides=[f"budget.trials={arguments.trials}", "test=null"], data_uri=folder
        )
        study = Study.start(f"{folder}/study", space, data_fingerprint="none")
        simulation = Simulation(study)
        figures: dict[str, float] = {}
        for until in (1_000, arguments.trials):
            if not arguments.all_tpe:
                study.config = space.model_copy(update={"sampler": Random()})
            simulation.run(until - arguments.window, arguments.slots)
            study.config = space
            simulation.clear()
            simulation.run(until, arguments.slots)
            label = f"{until // 1_000}k"
            figures |= {f"{name}_{label}": value for name, value in simulation.figures().items()}
            print(f"{until:,} trials: {figures}", flush=True)
        simulation.run(arguments.trials + 1, 0)
        started, cpu_started = time.perf_counter(), time.process_time()
        seen = Study.open(study.uri)
        figures[f"open_{arguments.trials // 1_000}k_s"] = time.perf_counter() - started
        figures[f"cpu_open_{arguments.trials // 1_000}k_s"] = time.process_time() - cpu_started
        assert len(seen.trials) == arguments.trials
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


class Simulation:
    """Tune's side of a search, without Tune: calls what it calls, in its order, for trials that take no time."""

    def __init__(self, study: Study) -> None:
        assert study._optuna  # built with the study's own sampler in mind
        self._study, self._searcher, self._recorder = study, StudySearcher(study), StudyRecorder(study)
        self._scheduler = build_scheduler(study)
        self._running: list[SimpleNamespace] = []
        self.clear()

    def clear(self) -> None:
        """Start to measure."""
        self._spent_s: dict[str, float] = defaultdict(float)
        self._cpu_s: dict[str, float] = defaultdict(float)
        self._num: dict[str, int] = defaultdict(int)

    def figures(self) -> dict[str, float]:
        """Milliseconds per event, of all and of each kind."""
        figures = {}
        for clock, spent_s in (("", self._spent_s), ("cpu_", self._cpu_s)):
            figures[f"{clock}ms_per_event"] = 1e3 * sum(spent_s.values()) / sum(self._num.values())
            figures |= {f"{clock}ms_{kind}": 1e3 * spent_s[kind] / self._num[kind] for kind in self._num}
        return figures

    @contextmanager
    def _event(self, kind: str) -> Iterator[None]:
        started, cpu_started = time.perf_counter(), time.process_time()
        yield
        self._spent_s[kind] += time.perf_counter() - started
        self._cpu_s[kind] += time.process_time() - cpu_started
        self._num[kind] += 1

    def run(self, until: int, slots: int) -> None:
        """Continue until so many trials have started (or, without slots, until all that run have ended)."""
        while len(self._study.trials) < until and (slots or self._running):
            while len(self._running) < slots and len(self._study.trials) < until:
                with self._event("ask"):
                    config = self._searcher.suggest("any")
                    assert isinstance(config, dict)
                    trial = SimpleNamespace(trial_id=f"{config['number']}", config=config, last_result={}, epoch=0)
                    self._scheduler.on_trial_add(None, trial)
                self._running.append(trial)
            for trial in list(self._running):
                self._epoch(trial)

    def _epoch(self, trial: SimpleNamespace) -> None:
        trial.epoch += 1
        error_pct = _error_pct(self._study.trials[trial.config["number"]].params, trial.epoch)
        epoch = {
            **{"epoch": trial.epoch, "loss": 1.0, "val_error_pct": error_pct, "best_error_pct": error_pct},
            **{"train_s": 1.0, "val_s": 0.1, "other_s": 0.1},
        }
        done = trial.epoch == self._study.config.budget.epochs
        result = {**epoch, "epochs": [epoch], "complete": done, "done": done}
        trial.last_result = result
        with self._event("report"):
            if not done:
                done = self._scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP
            self._recorder.on_trial_result(0, [], trial, result)
        if done:
            with self._event("end"):
                self._scheduler.on_trial_complete(None, trial, result)
                self._recorder.on_trial_complete(0, [], trial)
            self._running.remove(trial)
        self._recorder.on_step_end(0, [])


def _error_pct(params: dict[str, object], epoch: int) -> float:
    """Falls with the epochs, to a level that depends on the parameters."""
    level = sum(math.sin(3 * index + 10 * value) for index, value in enumerate(map(_number, params.values())))
    return 10 + level + 10 / epoch


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float(len(str(value)))


if __name__ == "__main__":
    main()
