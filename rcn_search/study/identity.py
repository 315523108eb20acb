"""What makes a study the same study, as its study.json holds it: written, read back, compared.

The identity of a study is the content of its data set, what is the same for all trials, and what is drawn and how. Its
settings may change whenever a driver takes it up: how many trials, where they run, what becomes of the best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from rcn_search.config.schema import TrainConfig
from rcn_search.study.records import StudyError, TrialRecord
from rcn_search.study.space.study_config import RUN, SEED, StudyConfig
from rcn_search.study.store import WARM_START

_SETTINGS = {"base", "budget", "seeds_per_run", "joint_models", "replication", "test", "callbacks"}
_OF_A_SEARCH, _OF_ROWS = {"search", "initial_trials", "sampler"}, {"runs"}
SETTINGS = "settings"
_NOT_OF_THE_SPACE = {"schema_version", "data_fingerprint", WARM_START, SETTINGS}
_ABSENT = "—"


def identity(space: StudyConfig, data_fingerprint: str) -> dict[str, Any]:
    """All that makes a study the same study; not how many trials or seeds, where they run, or what becomes of them."""
    unused = _OF_A_SEARCH if space.runs else _OF_ROWS
    document = space.model_dump(mode="json", by_alias=True, exclude=unused | _SETTINGS)
    return {"data_fingerprint": data_fingerprint, "base": _base(space.train_config({})), **document}


def resume_settings(space: StudyConfig) -> dict[str, Any]:
    """All of a study that may change when it is taken up; ``base`` as it was written, for where it runs."""
    return space.model_dump(mode="json", by_alias=True, include=_SETTINGS)


def restore_config(
    document: dict[str, Any], current: dict[str, Any] | None, trials: Sequence[TrialRecord]
) -> StudyConfig:
    """The space of a study from its ledger.

    Args:
        document: Its study.json.
        current: Its settings; None of a study from before they were kept, whose trials show them.
        trials: As they were drawn.

    Raises:
        StudyError: It is none of today's: it was written by a newer version, or damaged.
    """
    try:
        known = {key: value for key, value in document.items() if key not in _NOT_OF_THE_SPACE}
        return StudyConfig.model_validate({**known, **(current or _shown_by(document, trials))})
    except (ValidationError, LookupError, TypeError, AttributeError) as error:
        raise StudyError(f"study.json is damaged, or of a newer version of rcn-search: {error}") from error


def _shown_by(document: dict[str, Any], trials: Sequence[TrialRecord]) -> dict[str, Any]:
    seeds: dict[str, int] = {}
    for trial in trials if "runs" in document else ():
        row, seed = str(trial.params[RUN]), trial.params[SEED]
        seeds[row] = max(seeds.get(row, 1), int(seed or 0) + 1)
    budget = {"epochs": document["base"]["schedule"]["epochs"]}
    return {
        "budget": budget if "runs" in document else {**budget, "trials": max(1, len(trials))},
        "seeds_per_run": {row: count for row, count in seeds.items() if count > 1},
        "base": {
            **document["base"],
            "data": {**document["base"]["data"], "uri": trials[0].config.data.uri if trials else "unknown"},
            "compute": trials[0].config.compute.model_dump(mode="json") if trials else {},
        },
    }


def current_identity(document: dict[str, Any]) -> dict[str, Any]:
    """The identity in a study.json with every option there is today: one that came later had its default."""
    try:
        return identity(restore_config(document, None, ()), document["data_fingerprint"])
    except (StudyError, LookupError):
        return document  # not one that could be gone on with; what differs will be named


def differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    """What two identities do not share, as ``key: was → is``, by key."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from differences(was.get(key, _ABSENT), now.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif was != now:
        yield f"{path}: {_brief(was)} → {_brief(now)}"


def _brief(value: Any) -> str:
    """A value in one line, as YAML's flow style has it, without what is not set."""
    if isinstance(value, dict):
        pairs = (f"{key}: {_brief(each)}" for key, each in value.items() if each not in (None, False, {}, []))
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_brief, value)) + "]" if len(value) != 1 else _brief(value[0])
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _base(base: TrainConfig) -> dict[str, Any]:
    """What is the same for all trials; not where they run or where the data set is."""
    return base.model_dump(mode="json", exclude={"compute": True, "data": {"uri"}})
