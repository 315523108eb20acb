"""Records that this program cannot have written: each is named, never used, and stops nothing but what needs it."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rcn_search import storage
from rcn_search.study.lease import read_lease
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import StudyError
from rcn_search.study.selection import choose_best
from rcn_search.study.snapshot import open_study
from rcn_search.study.store import StudyStore
from rcn_search.study.study import Study
from rcn_search.study.warm_start import warm_start_study
from rcn_search.study.winner import WINNER, read_winner
from rcn_search.study_report.export import csv_bytes, export, trial_table
from rcn_search.study_report.status import study_status
from tests.support.leases import make_owner, put_lease
from tests.support.studies import epoch_result, play_trials

DEEP = b"[" * 100_000


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("file") / "study.yaml"
    path.write_text(
        "study: {name: tiny}\nbase: {data: {uri: x}}\nsampler: {name: random}\nbudget: {trials: 6, epochs: 4}\n"
        "search: {optimizer.lr: {float: [1e-3, 1e-2]}}\n"
    )
    return str(path)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, study_file: str) -> Path:
    """A study of 5 ended trials, of which 0 and 3 are complete, and an open one with an epoch."""
    uri = tmp_path_factory.mktemp("played") / "study"
    study = Study.start(str(uri), load_study_config(study_file), "drawn")
    play_trials(study, 5)
    trial = study.ask()
    assert trial is not None
    history = [{**epoch_result(1, 19.5).model_dump(exclude={"other_s"}), "images_per_s": 9.0, "lr": 0.1}]
    storage.write_json(storage.join(trial.folder, "history.json"), history)
    return uri


@pytest.fixture
def study_uri(tmp_path: Path, played: Path) -> str:
    """A copy of the study."""
    return str(shutil.copytree(played, tmp_path / "study"))


def change(uri: str, name: str, path: str, value: Any) -> None:
    """Change the value at a dotted path of a JSON document; without a path, replace the document."""
    target = storage.join(uri, name)
    if not path:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        return storage.write_bytes(target, content)
    document = storage.read_json(target)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    section = document
    for parent in parents:
        section = section[parent]
    section[last] = value
    # JSON has no NaN and no number beyond a float64, but Python writes the first and reads the second.
    storage.write_bytes(target, json.dumps(document).replace('"1e400"', "1e400").encode())


RESULT, TRIAL = "trials/000003/result.json", "trials/000003/trial.json"
NAN = float("nan")
DAMAGE = [
    (RESULT, "epochs.0.val_error_pct", NAN),
    (RESULT, "epochs.0.val_error_pct", "1e400"),
    (RESULT, "epochs.0.val_error_pct", -1.0),
    (RESULT, "epochs.0.val_error_pct", "1.0"),
    (RESULT, "epochs.0.best_error_pct", -1.0),
    (RESULT, "epochs.0.val_s", "1e400"),
    (RESULT, "epochs.0.val_s", 1e30),
    (RESULT, "epochs.0.loss", NAN),
    (RESULT, "epochs.0.epoch", 0),
    (RESULT, "epochs.0.epoch", 2),
    (RESULT, "epochs.1.epoch", 1),
    (RESULT, "epochs.1.epoch", 3),
    (RESULT, "epochs.1.epoch", True),
    (RESULT, "epochs", []),
    (RESULT, "metrics", {"latency_ms": NAN}),
    (RESULT, "ended_at", 1e20),
    (RESULT, "schema_version", "2"),
    (RESULT, "schema_version", None),
    (RESULT, "state", "done"),
    (RESULT, "", []),
    (RESULT, "", {}),
    (RESULT, "", DEEP),
    (RESULT, "", b"1" * 5_000),
    (TRIAL, "number", 4),
    (TRIAL, "number", -1),
    (TRIAL, "run_id", "0123456789ab"),
    (TRIAL, "config.seed", 7),
    (TRIAL, "created_at", 1e20),
    (TRIAL, "distributions", {}),
    (TRIAL, "distributions", {"optimizer.lr": "{}"}),
    (TRIAL, "distributions.optimizer.lr", None),
    (TRIAL, "params", {"optimizer.lr": 10**30}),
    (TRIAL, "params", []),
    (TRIAL, "", DEEP),
    (TRIAL, "", None),
]


@pytest.mark.parametrize(("name", "path", "value"), DAMAGE, ids=lambda part: str(part)[:30])
def test_damaged_trial_is_named_and_all_others_are_shown(
    tmp_path: Path, study_uri: str, name: str, path: str, value: Any
) -> None:
    if path == "distributions.optimizer.lr":
        document = storage.read_json(storage.join(study_uri, name))
        document["distributions"]["optimizer.lr"] = '{"name": "FloatDistribution"}'
        path, value = "", document
    if path == "params" and isinstance(value, dict):
        value = {**storage.read_json(storage.join(study_uri, name))["params"], **value}
    config = Study.open(study_uri).config
    change(study_uri, name, path, value)
    study = open_study(study_uri)
    named = re.escape(storage.join(study_uri, name)) + " is damaged: .*; restore it from a copy, or "
    assert [trial.number for trial in study.trials] == [0, 1, 2, 4, 5]
    assert re.match(named, "".join(study.problems))
    assert study.best_trial is not None
    assert (study.best_trial.number, study.num_trials) == (0, 6)
    assert study.num_remaining == 1  # the open trial; nobody knows whether the damaged one is to be run again
    assert study.trial(5).number == 5
    for read in (lambda: study.trial(3), lambda: choose_best(study, 3), lambda: Study(study_uri, config)):
        with pytest.raises(StudyError, match=named):
            read()
    text = io.StringIO()
    Console(file=text, width=200).print(study_status(study))
    assert "1 damaged" in text.getvalue()
    for suffix in ("csv", "parquet", "journal"):
        export(study, str(tmp_path / f"export.{suffix}"))
    assert len(csv_bytes(trial_table(study.trials)).splitlines()) == 6


def test_missing_trial_is_damaged(study_uri: str) -> None:
    storage.delete(storage.join(study_uri, TRIAL))
    study = open_study(study_uri)
    assert list(study.damaged) == [3]
    assert "trials/000003/trial.json is missing" in study.problems[0]


def test_folders_of_others_among_trials_and_leases_are_ignored(study_uri: str) -> None:
    for name in ("trials/copy/trial.json", "trials/000003 copy/trial.json", "leases/abc/acquired.json"):
        storage.write_bytes(storage.join(study_uri, name), b"[")
    assert len(open_study(study_uri).trials) == 6
    assert open_study(study_uri).problems == []


@pytest.mark.parametrize(
    "history",
    [b"[", DEEP, {}, [1], [{"epoch": 1}], "epoch 2 first", "an epoch twice"],
    ids=lambda history: str(history)[:20],
)
def test_damaged_history_of_an_open_trial_is_named(study_uri: str, history: Any) -> None:
    name = "trials/000005/history.json"
    (epoch,) = storage.read_json(storage.join(study_uri, name))
    history = {"epoch 2 first": [{**epoch, "epoch": 2}], "an epoch twice": [epoch, epoch]}.get(str(history), history)
    change(study_uri, name, "", history)
    study = open_study(study_uri)
    assert len(study.trials) == 6
    assert f"{name} is damaged" in study.problems[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", []),
        ("", None),
        ("", DEEP),
        ("", {}),
        ("schema_version", "2"),
        ("schema_version", "1"),
        ("schema_version", None),
        ("schema_version", True),
        ("settings", []),
        ("settings", {"budget": 5}),
        ("settings", {}),
        ("search", 5),
        ("study", {"name": "tiny", "seed": True}),
    ],
    ids=str,
)
def test_damaged_study_json_is_named(study_uri: str, path: str, value: Any) -> None:
    config = Study.open(study_uri).config
    change(study_uri, "study.json", path, value)
    with pytest.raises(StudyError, match=r"study\.json.* damaged"):
        open_study(study_uri)
    if path not in ("settings", ""):
        with pytest.raises(StudyError, match=r"study\.json is damaged|another configuration"):
            Study.check(study_uri, config, "drawn")


@pytest.mark.parametrize(
    "value",
    [1, {}, None, [], {"uri": "x", "trials": 5, "taken": 1, "left_out": 0}]
    + [{"uri": "x", "trials": name, "taken": 1, "left_out": 0} for name in ("../../secret.json", "warm_start-0.json")],
    ids=str,
)  # fmt: skip
def test_damaged_origin_of_a_warm_start_is_named(study_uri: str, value: Any) -> None:
    config = Study.open(study_uri).config
    change(study_uri, "study.json", "warm_start", value)
    study = open_study(study_uri)
    assert len(study.trials) == 6
    assert "study.json, warm_start, is damaged" in study.problems[0]
    with pytest.raises(StudyError, match=r"study\.json, warm_start, is damaged"):
        Study(study_uri, config)


@pytest.mark.parametrize("content", [b"[1]", b"{}", DEEP, None], ids=lambda content: str(content)[:8])
def test_damaged_or_missing_trials_of_a_warm_start_are_named(
    tmp_path: Path, study_uri: str, study_file: str, content: bytes | None
) -> None:
    config, uri = load_study_config(study_file), str(tmp_path / "warm")
    warm_start_study(study_uri, uri, config, "drawn")
    name = storage.read_json(storage.join(uri, "study.json"))["warm_start"]["trials"]
    if content is None:
        storage.delete(storage.join(uri, name))
    else:
        change(uri, name, "", content)
    study = open_study(uri)
    assert re.search(rf"{name} is (damaged|missing)", study.problems[0])
    assert study.warm_start_trials == []


def test_warm_start_leaves_out_a_damaged_trial_and_names_it(tmp_path: Path, study_uri: str, study_file: str) -> None:
    change(study_uri, RESULT, "epochs.0.val_error_pct", NAN)
    result = warm_start_study(study_uri, str(tmp_path / "warm"), load_study_config(study_file), "drawn")
    assert (result.num_taken, result.num_left_out) == (4, 1)
    assert RESULT in result.problems[0]


@pytest.mark.parametrize("value", [[], {}, {"at": None}, {"at": "1"}, {"at": NAN}, {"at": -1}, DEEP], ids=str)
def test_damaged_heartbeat_is_named(study_uri: str, value: Any) -> None:
    put_lease(study_uri, 0, make_owner(), settings=storage.read_json(f"{study_uri}/study.json")["settings"])
    change(study_uri, "leases/000000/heartbeat.json", "", value)
    damage = r"leases/000000/heartbeat\.json is damaged: .*; restore it from a copy, or delete it if no search"
    with pytest.raises(StudyError, match=damage):
        read_lease(study_uri)
    study = open_study(study_uri)
    assert len(study.trials) == 6
    assert re.search(damage, study.problems[0])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", []),
        ("owner.pid", -1),
        ("owner", None),
        ("acquired_at", None),
        ("acquired_at", NAN),
        ("settings", []),
        ("settings", None),
        ("schema_version", "2"),
        ("schema_version", None),
    ],
)
def test_damaged_lease_is_named(study_uri: str, path: str, value: Any) -> None:
    put_lease(study_uri, 0, make_owner())
    change(study_uri, "leases/000000/acquired.json", path, value)
    with pytest.raises(StudyError, match=r"leases/000000/acquired\.json is damaged: "):
        read_lease(study_uri)
    assert len(open_study(study_uri).trials) == 6


WINNER_DOCUMENT = {
    "trial": 3,
    "is_tied": False,
    "num_images": 4,
    "candidates": [
        {
            "trial": 3,
            "search_error_pct": 4.0,
            "error_pct": 4.0,
            "runs": [{"number": 0, "seed": 1, "error_pct": 4.0, "checkpoint": "x"}],
        }
    ],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", []),
        ("", DEEP),
        ("trial", -3),
        ("trial", 9),
        ("trial", "3"),
        ("candidates", []),
        ("candidates.0.trial", 99),
        ("candidates.0.runs", []),
        ("candidates.0.error_pct", None),
        ("candidates.0.error_pct", NAN),
        ("candidates.0.runs.0.error_pct", None),
        ("candidates.0.runs.0.error_pct", -1.0),
        ("schema_version", None),
    ],
)
def test_damaged_winner_is_named_and_no_trial_is_chosen(study_uri: str, path: str, value: Any) -> None:
    change(study_uri, WINNER, "", WINNER_DOCUMENT)
    assert choose_best(open_study(study_uri), None).number == 3
    change(study_uri, WINNER, path, value)
    study = open_study(study_uri)
    with pytest.raises(StudyError, match=r"winner\.json is damaged: .*; restore it from a copy, or delete it"):
        choose_best(study, None)
    text = io.StringIO()
    Console(file=text, width=200).print(study_status(study))
    assert "winner.json is damaged" in text.getvalue()


def test_winner_of_a_trial_that_does_not_exist_is_damaged(study_uri: str) -> None:
    first = WINNER_DOCUMENT["candidates"][0]  # type: ignore[index]
    change(study_uri, WINNER, "", {**WINNER_DOCUMENT, "trial": 99, "candidates": [{**first, "trial": 99}]})
    with pytest.raises(StudyError, match="it names trial 99; the study has 6 trials, numbered from 0"):
        read_winner(study_uri, 6)


def test_thousand_epochs_of_a_trial_are_read(study_uri: str) -> None:
    (_, result), *_ = StudyStore(study_uri).read_trials()
    assert result is not None
    epochs = [epoch.model_dump() for epoch in result.epochs[:1]]
    long = [{**epochs[0], "epoch": number} for number in range(1, 1_001)]
    change(study_uri, "trials/000000/result.json", "epochs", long)
    assert len(open_study(study_uri).trials[0].epochs) == 1_000


def test_export_of_whole_numbers_beyond_64_bits_keeps_them(study_uri: str) -> None:
    study = open_study(study_uri)
    study.trials[0].params["optimizer.lr"] = 10**30
    study.trials[1].params["optimizer.lr"] = 2**53 + 1
    column = trial_table(study.trials).column("optimizer.lr").to_pylist()
    assert column[:2] == [str(10**30), str(2**53 + 1)]
    assert str(10**30).encode() in csv_bytes(trial_table(study.trials))
