"""What makes two studies the same study: how study.json holds it, how it is read back, and how two are compared.

The identity of a study is the content of its data set, the configuration that all trials share, and what is sampled
and how. Its settings may change whenever it is resumed: how many trials, where they run, what happens to the best one.
"""

from __future__ import annotations

from typing import Any

from rcn_search import storage
from rcn_search.config.differences import differences
from rcn_search.errors import RcnSearchError, list_first
from rcn_search.study.records import RESTORE, StudyError, validate_record
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import PRIOR, STUDY_NAME, WARM_START

_SETTINGS = {"base", "budget", "seeds_per_run", "joint_models", "stop", "replication", "test", "callbacks"}
_SEARCH_ONLY, _RUNS_ONLY = {"search", "initial_trials", "sampler"}, {"runs"}
SETTINGS = "settings"
_NOT_CONFIG = {"schema_version", "data_fingerprint", WARM_START, PRIOR, SETTINGS}


def identity(config: StudyConfig, data_fingerprint: str) -> dict[str, Any]:
    """Return what makes a study the same study, as study.json holds it."""
    unused = _SEARCH_ONLY if config.runs else _RUNS_ONLY
    document = config.model_dump(mode="json", by_alias=True, exclude=unused | _SETTINGS)
    exclude: Any = {"compute": True, "data": {"uri"}}
    if config.base_config.init and config.base_config.init.sha256:  # which names the weights, wherever they are
        exclude["init"] = {"weights"}
    base = config.base_config.model_dump(mode="json", exclude=exclude)
    return {"data_fingerprint": data_fingerprint, "base": base, **document}


def resume_settings(config: StudyConfig) -> dict[str, Any]:
    """Return what may change when a study is resumed; ``base`` as it was written, for where the study runs."""
    return config.model_dump(mode="json", by_alias=True, include=_SETTINGS)


def restore_config(uri: str, document: dict[str, Any], settings: dict[str, Any]) -> StudyConfig:
    """Build the configuration of the study at ``uri`` from its study.json and its newest settings.

    Raises:
        StudyError: They are damaged, or of a newer version.
    """
    place = f"{storage.join(uri, STUDY_NAME)}, or settings of its newest lease,"
    known = {key: value for key, value in document.items() if key not in _NOT_CONFIG}
    if not isinstance(settings, dict):
        raise StudyError(f"{place} is damaged: settings is no mapping; {RESTORE}")
    config = validate_record(place, StudyConfig, {**known, **settings}, remedy=f"{RESTORE}, or use a newer rcn-search")
    try:
        _ = config.base_config
    except RcnSearchError as error:
        raise StudyError(f"{place} is damaged: base: {error}; {RESTORE}") from None
    return config


def check_identity(uri: str, document: dict[str, Any], config: StudyConfig, data_fingerprint: str) -> None:
    """Check that ``document``, the study.json at ``uri``, is that of a study; StudyError shows what differs."""
    if changes := list(differences(stored_identity(uri, document), identity(config, data_fingerprint))):
        raise StudyError(
            f"the study at {uri} was started with another configuration:\n  " + list_first(changes, "\n  ") + "\n"
            "Undo the change, or start a new study with the trials that still fit: "
            f"--warm-start-from {uri} --study NEW"
        )


def stored_identity(uri: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the identity in study.json, with the defaults of options that are newer than the study."""
    try:
        settings, base = document[SETTINGS], document["base"]
        base = {**base, "data": {**base["data"], "uri": settings["base"]["data"]["uri"]}}
        if base.get("init") and "weights" not in base["init"]:
            base["init"] = {**base["init"], "weights": settings["base"]["init"]["weights"]}
        return identity(restore_config(uri, document, {**settings, "base": base}), document["data_fingerprint"])
    except (StudyError, LookupError, TypeError):
        return document  # it cannot be resumed; the comparison names what differs
