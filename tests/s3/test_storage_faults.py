"""A study on a failing store completes, or stops with the reason and can be resumed; nothing torn is ever read.

Each run has a seed, which decides the faults between client and server (`fault_proxy`). Its search is scripted, but the
study, its store, its lease and the uploads of checkpoints are the real ones.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import random
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from rcn_search import storage
from rcn_search.storage import object_store, retry
from rcn_search.storage.preflight import preflight
from rcn_search.study.identity import resume_settings
from rcn_search.study.lease import acquire
from rcn_search.study.records import EpochResult
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import StudyStore, study_exists
from rcn_search.study.study import Study
from rcn_search.training.async_uploads import AsyncUploads

_spec = importlib.util.spec_from_file_location("fault_proxy", Path(__file__).with_name("fault_proxy.py"))
fault_proxy: Any = importlib.util.module_from_spec(_spec)
sys.modules["fault_proxy"] = fault_proxy  # where dataclasses looks for it
_spec.loader.exec_module(fault_proxy)

SHORT_LIMITS = retry.Limits(attempt_s=3.0, total_s=1.5, first_pause_s=0.02, longest_pause_s=0.2)
NUM_TRIALS, NUM_EPOCHS, CHECKPOINT_BYTES = 3, 2, 20_000


@pytest.fixture
def proxy(moto: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with fault_proxy.FaultProxy(moto.url) as server:
        for name, value in {**moto.environment(), "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server
        server.shutdown()


@pytest.fixture
def space(tmp_path: Path) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": {"name": "faults", "seed": 1},
            "base": {"data": {"uri": str(tmp_path)}, "model": {"name": "rcn"}},
            "search": {"optimizer.lr": {"float": [1e-3, 1e-2], "log": True}},
            "sampler": {"name": "random"},
            "scheduler": {"name": "none"},
            "budget": {"trials": NUM_TRIALS, "epochs": NUM_EPOCHS},
        }
    )


def drive(uri: str, space: StudyConfig) -> None:
    """Do what a search does with storage, from preflight to end."""
    preflight(uri)
    if study_exists(uri):
        Study.check(uri, space, "f")
    else:
        Study.start(uri, space, "f")
    with acquire(uri, resume_settings(space), on_status=str) as lease:
        study = Study(uri, space, StudyStore(uri, lease.check))
        while trial := study.ask():
            uploads = AsyncUploads(trial.folder)
            for number in range(1, NUM_EPOCHS + 1):
                uploads.raise_if_failed()
                for name in ("best", "last"):
                    uploads.add(storage.join(trial.folder, name), checkpoint(trial.number, number))
                uploads.start()
                study.report(trial.number, [epoch(number, trial.number)])
            uploads.flush()
            study.finish(trial.number, "complete")


def drive_until_error(uri: str, space: StudyConfig) -> Exception | None:
    """Drive the study; return the error that stopped it, which must be one after which a search can be resumed."""
    try:
        drive(uri, space)
    except (OSError, ValueError) as error:
        return error
    return None


def epoch(number: int, trial: int) -> EpochResult:
    error = 9.0 - number - trial / 7
    return EpochResult(epoch=number, loss=1.0, val_error_pct=error, best_error_pct=error, train_s=1.0, val_s=1.0)


def checkpoint(trial: int, number: int) -> bytes:
    """Make content that contains its own hash."""
    body = random.Random(f"{trial}/{number}").randbytes(CHECKPOINT_BYTES)
    return hashlib.sha256(body).digest() + body


def table(study: Study) -> list[tuple[Any, ...]]:
    return [(each.params, each.state, [*each.epochs]) for each in study.trials]


def assert_nothing_torn(uri: str, expected: list[tuple[Any, ...]]) -> None:
    """Check that everything stored is whole and the beginning of an undisturbed study."""
    if not study_exists(uri):
        return
    study = Study.open(uri)
    for trial, (params, _, epochs) in zip(study.trials, expected, strict=False):
        assert trial.params == params
        assert trial.result is None or [*trial.epochs] == epochs
        for name in ("best", "last"):
            place = storage.join(trial.folder, name)
            there = storage.exists(place)
            assert there or trial.result is None, f"{place}: the trial has ended, and its checkpoint is missing"
            if there:
                content = storage.read_bytes(place)
                assert hashlib.sha256(content[32:]).digest() == content[:32], f"{place} is torn"
            if trial.result:
                assert content == checkpoint(trial.number, NUM_EPOCHS)


def weather(seed: int) -> Any:
    """Choose the faults of a run: every third has a lasting outage, the others transient faults."""
    chance = random.Random(seed)
    if seed % 3 == 0:
        lasting = fault_proxy.LASTING[seed // 3 % len(fault_proxy.LASTING)]
        return fault_proxy.Weather(seed=seed, lasting=lasting, after=chance.randrange(45))
    return fault_proxy.Weather(seed=seed, rate=chance.choice([0.03, 0.1, 0.33]))


class Script:
    """A fault for each of the first requests, then none."""

    def __init__(self, *faults: str) -> None:
        self._faults, self.num_requests = list(faults), 0

    def fault(self) -> str:
        self.num_requests += 1
        return self._faults.pop(0) if self._faults else ""


@pytest.mark.parametrize("fault", fault_proxy.PASSING)
def test_transient_fault_is_retried(proxy: Any, fault: str) -> None:
    place, content = f"s3://bucket/{uuid.uuid4().hex}", checkpoint(0, 1)
    proxy.weather = written = Script(fault)
    storage.write_bytes(place, content)
    proxy.weather = looked_at = Script(fault)
    assert storage.read_bytes(place) == content
    expected = 1 if fault == "latency" else 2
    assert (written.num_requests, looked_at.num_requests) == (1 if fault == "partial answer" else expected, expected)


def test_put_if_absent_with_a_lost_answer_is_recognized(proxy: Any) -> None:
    place = f"s3://bucket/{uuid.uuid4().hex}"
    proxy.weather = Script("", "answer lost")  # of the look before, and of the put
    storage.write_bytes(place, b"mine", if_absent=True)
    with pytest.raises(storage.ObjectExistsError):
        storage.write_bytes(place, b"mine", if_absent=True)


def test_refused_request_is_not_retried_and_explained(proxy: Any) -> None:
    place = f"s3://bucket/{uuid.uuid4().hex}"
    for call in (storage.read_bytes, storage.delete, lambda uri: storage.write_bytes(uri, b"x")):
        proxy.weather = script = Script("refused", "refused")
        with pytest.raises(PermissionError, match=rf"{place}: .*Denied.*Check the credentials.*'bucket'"):
            call(place)
        assert script.num_requests == 1


@pytest.mark.parametrize("fault", ["hang", "throttled"])
def test_lasting_fault_ends_with_a_remedy(proxy: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LIMITS", retry.Limits(attempt_s=0.6, total_s=1.5))
    monkeypatch.setattr(proxy, "hang_s", 5.0)
    place = f"s3://bucket/{uuid.uuid4().hex}"
    proxy.weather = fault_proxy.Weather(lasting=fault)
    started = time.monotonic()
    with pytest.raises(
        OSError, match=rf"{place}: writing it failed after .*overloaded or unreachable; try again later"
    ):
        storage.write_bytes(place, b"x")
    assert 0.5 < time.monotonic() - started < 20


def test_secrets_are_neither_stored_nor_printed(
    proxy: Any, space: StudyConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    folder = uuid.uuid4().hex
    with caplog.at_level(logging.DEBUG):
        drive(f"s3://bucket/{folder}", space)
        proxy.weather = fault_proxy.Weather(lasting="refused")
        refused = drive_until_error(f"s3://bucket/{folder}", space)
        proxy.weather = Script()
    assert refused
    said = [*traceback.format_exception(refused), caplog.text, object_store._without_secrets(f"a {secret} b")]
    assert not any(secret in text for text in said)
    client = boto3.Session().client("s3")
    kept = client.list_objects_v2(Bucket="bucket", Prefix=folder)["Contents"]
    assert len(kept) > 10
    for each in kept:
        reply = client.get_object(Bucket="bucket", Key=each["Key"])
        assert secret not in f"{each['Key']} {reply['Metadata']}"
        assert secret.encode() not in reply["Body"].read()


@pytest.mark.parametrize(
    "seeds",
    [range(4), pytest.param(range(4, 64), marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
    ids=["4", "60"],
)
def test_study_completes_or_stops_resumably(
    proxy: Any, space: StudyConfig, seeds: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"s3://bucket/{uuid.uuid4().hex}"
    proxy.weather = fault_proxy.Weather()
    drive(f"{place}/straight", space)
    expected = table(Study.open(f"{place}/straight"))
    faults: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for seed in seeds:
        uri = f"{place}/{seed}"
        proxy.weather = weather(seed)
        with monkeypatch.context() as patch:
            patch.setattr(retry, "LIMITS", SHORT_LIMITS)
            stopped = drive_until_error(uri, space)
            assert stopped is None or "s3://" in str(stopped), "what cannot be read or written is named"
            ended[f"stopped: {type(stopped).__name__}" if stopped else "completed"] += 1
        faults += proxy.weather.seen
        proxy.weather = fault_proxy.Weather()
        assert_nothing_torn(uri, expected)
        drive(uri, space)
        assert_nothing_torn(uri, expected)
        assert table(Study.open(uri)) == expected, f"seed {seed}"
    print(json.dumps({"runs": len(seeds), "ended": ended, "faults": faults}))
    assert sum(ended.values()) == len(seeds)
    assert ended["completed"]
    assert faults.total() > len(seeds)
