from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from rcn_search.search.progress import SearchProgress
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial


class Counted(list):
    """A list that counts how many of its trials are iterated over."""

    num_iterated = 0

    def __iter__(self):
        for trial in super().__iter__():
            self.num_iterated += 1
            yield trial


@pytest.fixture
def study(write_study, tmp_path) -> Study:
    space = load_study_config(write_study(budget={"trials": 4, "epochs": 3}))
    return Study.start(str(tmp_path / "study"), space, "f")


def run_trial(study: Study, progress: SearchProgress, errors: list[float], state: str) -> None:
    """Run a trial as Tune's loop does: the study is updated before the progress."""
    trial = study.ask()
    ray_trial = SimpleNamespace(config={"number": trial.number})
    progress.on_trial_start(0, [], ray_trial)
    for number, error in enumerate(errors, start=1):
        epoch = EpochResult(epoch=number, loss=1.0, val_error_pct=error, best_error_pct=error, train_s=2.0, val_s=1.0)
        study.report(trial.number, [epoch])
        progress.on_trial_result(0, [], ray_trial, result={})
    study.finish(trial.number, state, reason="[bold]the loss became nan[/bold]" if state == "failed" else None)
    progress.on_trial_complete(0, [], ray_trial)


def shown(progress: SearchProgress) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(progress.render(60.0))
    return " ".join(console.file.getvalue().split())


def test_progress_without_a_terminal_prints_one_line_per_trial(study: Study) -> None:
    console = Console(file=io.StringIO(), width=80)
    with SearchProgress(study, console) as progress:
        run_trial(study, progress, [9.0, 8.0, 7.0], "complete")
        run_trial(study, progress, [9.5], "pruned")
        run_trial(study, progress, [], "failed")
        progress.on_step_end(0, [])
    first, second, third = console.file.getvalue().splitlines()
    assert re.fullmatch(r"trial   0 complete   7\.00 % after 3 epochs  name rcn, branches 5, .*…", first)
    assert re.fullmatch(r"trial   1 pruned     9\.50 % after 1 epochs  .*", second)
    assert third == "trial   2 failed: [bold]the loss became nan[/bold]"


def test_render_shows_counts_best_rungs_and_time(study: Study) -> None:
    progress = SearchProgress(study, Console(file=io.StringIO()))
    assert shown(progress) == "0 of 4 trials ended no trial is complete yet 1 min 0 s elapsed"
    run_trial(study, progress, [9.0, 8.0, 7.0], "complete")
    run_trial(study, progress, [9.5], "pruned")
    progress.on_trial_start(0, [], SimpleNamespace(config={"number": study.ask().number}))
    printed = shown(progress)
    assert "2 of 4 trials ended · 1 running · 1 complete · 1 pruned best 7.00 % trial 0: name rcn, " in printed
    assert "1 2 1 9.00 9.00 9.00 9.50 3 1 0 7.00 " in printed
    # 4 epochs in 60 s; two trials left, of two epochs each like those that ended
    assert "1 min 0 s elapsed, about 1 min 0 s left" in printed


def test_progress_on_a_terminal_refreshes_the_status_and_removes_it_at_the_end(study: Study, ray_cluster: None) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    with SearchProgress(study, console) as progress:
        run_trial(study, progress, [9.0, 8.0, 7.0], "complete")
        progress.on_step_end(0, [])
        progress.on_step_end(0, [])  # too soon
    printed = console.file.getvalue()
    assert printed.count("1 of 4 trials ended") == 2  # and once more before it is taken away
    assert re.search(r"\d of 2 CPU in use  ·  0 s elapsed, about 0 s left", printed)
    assert printed.rstrip().endswith("\x1b[2K")


def test_progress_event_does_not_loop_over_all_trials(study: Study) -> None:
    run_trial(study, SearchProgress(study, Console(file=io.StringIO())), [9.0, 8.0, 7.0], "complete")
    first = study.trials[0]
    for number in range(1, 2000):
        record = first.record.model_copy(update={"number": number})
        study.trials.append(Trial(record, first.folder, first.result))
        study.trials[-1].values = first.values
    progress = SearchProgress(study, Console(file=io.StringIO()))
    study.trials = Counted(study.trials)
    last = Trial(first.record.model_copy(update={"number": 2000}), first.folder)
    study.trials.append(last)
    for number, epoch in first.epochs.items():
        last.epochs[number] = epoch
        progress.on_trial_result(0, [], SimpleNamespace(config={"number": 2000}), result={})
    last.result, last.values = first.result, first.values
    progress.on_trial_complete(0, [], SimpleNamespace(config={"number": 2000}))
    assert "2001 complete" in shown(progress)
    assert study.trials.num_iterated == 0
