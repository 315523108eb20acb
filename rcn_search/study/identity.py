"""What makes two studies the same study: how study.json holds it, how it is read back, and how two are compared.

The identity of a study is the content of its data set, the configuration that all trials share, and what is sampled
and how. Its settings may change whenever it is resumed: how many trials, where they run, what happens to the best one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from rcn_search.study.records import StudyError
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import STUDY_NAME, WARM_START

_SETTINGS = {"base", "budget", "seeds_per_run", "joint_models", "replication", "test", "callbacks"}
_SEARCH_ONLY, _RUNS_ONLY = {"search", "initial_trials", "sampler"}, {"runs"}
SETTINGS = "settings"
_NOT_CONFIG = {"schema_version", "data_fingerprint", WARM_START, SETTINGS}
_ABSENT = "—"


def identity(config: StudyConfig, data_fingerprint: str) -> dict[str, Any]:
    """Return what makes a study the same study, as study.json holds it."""
    unused = _SEARCH_ONLY if config.runs else _RUNS_ONLY
    document = config.model_dump(mode="json", by_alias=True, exclude=unused | _SETTINGS)
    base = config.base_config.model_dump(mode="json", exclude={"compute": True, "data": {"uri"}})
    return {"data_fingerprint": data_fingerprint, "base": base, **document}


def resume_settings(config: StudyConfig) -> dict[str, Any]:
    """Return what may change when a study is resumed; ``base`` as it was written, for where the study runs."""
    return config.model_dump(mode="json", by_alias=True, include=_SETTINGS)


def restore_config(document: dict[str, Any], settings: dict[str, Any]) -> StudyConfig:
    """Build a study's configuration from study.json and its newest settings; StudyError if damaged or newer."""
    try:
        known = {key: value for key, value in document.items() if key not in _NOT_CONFIG}
        return StudyConfig.model_validate({**known, **settings})
    except (ValidationError, LookupError, TypeError, AttributeError) as error:
        raise StudyError(f"{STUDY_NAME} is damaged, or of a newer version of rcn-search: {error}") from error


def stored_identity(document: dict[str, Any]) -> dict[str, Any]:
    """Return the identity in study.json, with the defaults of options that are newer than the study."""
    try:
        settings, base = document[SETTINGS], document["base"]
        base = {**base, "data": {**base["data"], "uri": settings["base"]["data"]["uri"]}}
        return identity(restore_config(document, {**settings, "base": base}), document["data_fingerprint"])
    except (StudyError, LookupError, TypeError):
        return document  # it cannot be resumed; the comparison names what differs


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Compare two identities: yield ``key: before → now`` for each key that differs.

    >>> list(differences({"study": {"seed": 0}}, {"study": {"seed": 1}}))
    ['study.seed: 0 → 1']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from differences(before.get(key, _ABSENT), now.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif before != now:
        yield f"{path}: {_in_one_line(before)} → {_in_one_line(now)}"


def _in_one_line(value: Any) -> str:
    """Write a value in YAML's flow style, without what is not set."""
    if isinstance(value, dict):
        pairs = (f"{key}: {_in_one_line(item)}" for key, item in value.items() if item not in (None, False, {}, []))
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_in_one_line, value)) + "]" if len(value) != 1 else _in_one_line(value[0])
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
