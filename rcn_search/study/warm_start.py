"""Warm start: a new study that takes over those trials of an earlier one that also belong to its own search space."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from optuna.distributions import distribution_to_json

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.study.identity import SETTINGS, identity, resume_settings
from rcn_search.study.records import StudyError, WarmStartTrial
from rcn_search.study.space.parameter import Parameter, Scalar, Values
from rcn_search.study.space.study_config import StudyConfig, value_at
from rcn_search.study.store import WARM_START, StudyStore, study_exists


class WarmStart(NamedTuple):
    """Number of trials of the earlier study that were taken over and left out, and what is damaged there."""

    num_taken: int
    num_left_out: int
    problems: list[str]


def warm_start_study(source_uri: str, uri: str, config: StudyConfig, data_fingerprint: str) -> WarmStart:
    """Publish a new study with the ended trials of an earlier one that fit.

    A trial fits if the new study could have proposed the very same training: all its sampled values are within the
    new ranges, and everything else is as the new study has it. A trial with other epochs or on other data does not fit.
    A damaged trial is left out. Nothing is written to the earlier study.

    Raises:
        StudyError: There is a study at ``uri`` already.
    """
    source = StudyStore(source_uri)
    document = source.read_study()
    ended, problems = source.read_warm_start(document), list[str]()
    for record, result in source.read_trials(lambda number, error: problems.append(str(error))):
        if result:
            ended.append(WarmStartTrial(origin=source_uri, record=record, result=result))
    same_data = document.get("data_fingerprint") == data_fingerprint
    fitting = [fit for trial in ended if same_data and (fit := _convert(trial, config))]
    num_left_out = len(ended) + len(problems) - len(fitting)
    content = [trial.model_dump(mode="json") for trial in fitting]
    # Named by its content and written before study.json, which names it: with all its trials, or no study at all.
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    name = f"warm_start-{digest}.json"
    origin: dict[str, Any] = {"uri": source_uri, "trials": name, "taken": len(fitting), "left_out": num_left_out}
    if study_exists(uri):
        raise StudyError(f"there is a study at {uri} already; resume it with --resume, or name another location")
    storage.write_json(storage.join(uri, name), content)
    settings = {SETTINGS: resume_settings(config), WARM_START: origin}
    try:
        StudyStore(uri).create({**identity(config, data_fingerprint), **settings})
    except storage.ObjectExistsError:
        raise StudyError(f"another process started a study at {uri} a moment ago") from None
    return WarmStart(len(fitting), num_left_out, problems)


def _convert(trial: WarmStartTrial, config: StudyConfig) -> WarmStartTrial | None:
    """Give a trial the parameters that the new study has for its configuration; None if it does not fit."""
    train_config = trial.record.config
    params: Values = {}
    distributions: dict[str, str] = {}

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        value: Scalar = value_at(train_config, path)
        if not parameter.contains(value):
            raise ConfigError(f"{path} = {value!r} is out of its range")
        params[name], distributions[name] = value, distribution_to_json(parameter.distribution)
        return value

    try:
        if config.train_config(config.draw(choose)).run_id != train_config.run_id:
            return None
    except ConfigError:
        return None
    changes = {"params": params, "distributions": distributions, "run_id": train_config.run_id}
    return trial.model_copy(update={"record": trial.record.model_copy(update=changes)})
