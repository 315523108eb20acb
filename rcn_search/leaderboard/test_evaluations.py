"""Record of the evaluations of each test split: an immutable object for each, written before the evaluation.

<leaderboard>/test_evaluations/<dataset>-<subset>/<when>-<random>.json
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, ValidationError

from rcn_search import storage
from rcn_search.leaderboard.objects import list_objects, list_subfolders, put_object, read_objects
from rcn_search.leaderboard.records import FileName, Line, Record, explained_fields
from rcn_search.machine import user_at_host

TEST_EVALUATIONS = "test_evaluations"
MAX_LOADED = 50


class TestEvaluation(Record):
    """One evaluation of a test split: who evaluated what on which split, and when."""

    __test__ = False  # pytest would collect the class because of its name

    schema_version: Literal[1] = 1
    dataset: FileName
    subset: FileName
    method: Line
    run_id: FileName
    who: Line
    when: AwareDatetime


@explained_fields()
def record_test_evaluation(
    leaderboard: str, *, dataset: str, subset: str, method: str, run_id: str, who: str | None = None
) -> int:
    """Record that a test split is about to be evaluated; the number of its evaluations so far, this one included.

    ``who`` is the person or machine that evaluates; user and host name by default.
    """
    evaluation = _evaluation(dataset=dataset, subset=subset, method=method, run_id=run_id, who=who)
    folder = _folder(dataset, subset)
    name = f"{evaluation.when:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}.json"
    put_object(leaderboard, folder, name, storage.encode_json(evaluation.model_dump(mode="json")))
    return len(_names(leaderboard, folder))


@explained_fields()
def check_recordable(*, dataset: str, subset: str, method: str) -> None:
    """Check, before a search, that its test evaluation can be recorded; `RcnSearchError` if not."""
    _evaluation(dataset=dataset, subset=subset, method=method, run_id="run", who=None)


def _evaluation(*, who: str | None, **fields: str) -> TestEvaluation:
    return TestEvaluation(**fields, who=who or user_at_host(), when=datetime.now(UTC))


class TestEvaluations(NamedTuple):
    """Number of evaluations of a test split, the newest `MAX_LOADED` of them, and a line for each damaged one."""

    num: int
    newest: list[TestEvaluation]
    damaged: list[str]


def load_test_evaluations(leaderboard: str, dataset: str, subset: str) -> TestEvaluations:
    """Count the evaluations of a test split and load the newest, newest first; a damaged one is counted, too."""
    folder = _folder(dataset, subset)
    names = _names(leaderboard, folder)
    contents = read_objects(leaderboard, folder, names[-MAX_LOADED:])
    newest, damaged = list[TestEvaluation](), list[str]()
    for name, content in sorted(contents.items(), reverse=True):
        uri = storage.join(leaderboard, folder, name)
        try:
            if not isinstance(content, bytes):
                raise content
            newest.append(TestEvaluation.model_validate(storage.decode_json(uri, content)))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"])) or "document"
            damaged.append(f"{uri} is no record of a test evaluation: {key}: {problem['msg']}")
        except (ValueError, OSError) as error:
            damaged.append(f"{uri} cannot be read: {str(error).removeprefix(f'{uri} ')}")
    return TestEvaluations(len(names), newest, damaged)


def load_all_test_evaluations(
    leaderboard: str, splits: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], TestEvaluations]:
    """Load the evaluations of those of the splits, pairs of data set and subset, that have any."""
    existing = set(list_subfolders(leaderboard, TEST_EVALUATIONS))
    return {split: load_test_evaluations(leaderboard, *split) for split in splits if "-".join(split) in existing}


def _folder(dataset: str, subset: str) -> str:
    return f"{TEST_EVALUATIONS}/{dataset}-{subset}"


def _names(leaderboard: str, folder: str) -> list[str]:
    """Object names in ``folder``, oldest first: they begin with the time."""
    return [name for name in list_objects(leaderboard, folder) if name.endswith(".json")]
