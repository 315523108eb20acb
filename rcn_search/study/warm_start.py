"""A child study: another space, and what of its parent's trials still belongs there."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from optuna.distributions import distribution_to_json

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.study.identity import SETTINGS, identity, resume_settings
from rcn_search.study.records import StudyError, TrialRecord, WarmStartTrial
from rcn_search.study.space.parameter import Parameter, Scalar, Values
from rcn_search.study.space.study_config import StudyConfig, value_at
from rcn_search.study.store import WARM_START, StudyStore, study_exists


def start_warm_started(parent_uri: str, uri: str, space: StudyConfig, data_fingerprint: str) -> tuple[int, int]:
    """Publish a child study with the ended trials of its parent that fit.

    A trial fits if the child could have drawn the very same training: all that is drawn there is within its ranges, and
    all else is as the child has it. So one that ran for other epochs does not fit, nor one on other data.

    Args:
        parent_uri: The study that is branched. Nothing is written to it.
        uri: The child's place.
        space: What the child searches.
        data_fingerprint: Of its data set.

    Returns:
        How many trials were taken over, and how many ended ones were left.

    Raises:
        StudyError: There is no parent, or something at the child's place already.
    """
    parent = StudyStore(parent_uri)
    document = parent.read_study()
    ended = [
        *parent.read_warm_start(document),
        *(
            WarmStartTrial(origin=parent_uri, record=suggestion, result=outcome)
            for suggestion, outcome in parent.read_trials()
            if outcome
        ),
    ]
    same_data = document.get("data_fingerprint") == data_fingerprint
    taken = [each for trial in ended if same_data and (each := _as_drawn_here(trial, space))]
    inherited = [trial.model_dump(mode="json") for trial in taken]
    # Named by its content and put before study.json, which names it: there is a child with all of them, or none.
    digest = hashlib.sha256(json.dumps(inherited, sort_keys=True).encode()).hexdigest()[:12]
    name = f"warm_start-{digest}.json"
    origin: dict[str, Any] = {"uri": parent_uri, "trials": name, "taken": len(taken), "left": len(ended) - len(taken)}
    if study_exists(uri):
        raise StudyError(
            f"{uri} holds a study already; add --resume to resume it, or name another location with --study"
        )
    storage.write_json(storage.join(uri, name), inherited)
    try:
        StudyStore(uri).create(
            {**identity(space, data_fingerprint), SETTINGS: resume_settings(space), WARM_START: origin}
        )
    except storage.ObjectExistsError:
        raise StudyError(f"another driver started {uri} a moment ago") from None
    return len(taken), len(ended) - len(taken)


def _as_drawn_here(trial: WarmStartTrial, space: StudyConfig) -> WarmStartTrial | None:
    """The same trial with the parameters of ``space``; None if it could not be drawn there."""
    config = trial.record.config
    params: Values = {}
    distributions: dict[str, str] = {}

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        value: Scalar = value_at(config, path)
        if not parameter.contains(value):
            raise ConfigError(f"{path} = {value!r} is out of its range")
        params[name], distributions[name] = value, distribution_to_json(parameter.distribution)
        return value

    try:
        if space.train_config(space.draw(choose)).run_id != config.run_id:
            return None
    except ConfigError:
        return None
    suggestion = TrialRecord(
        number=trial.record.number,
        params=params,
        distributions=distributions,
        config=config,
        run_id=config.run_id,
        created_at=trial.record.created_at,
    )
    return WarmStartTrial(origin=trial.origin, record=suggestion, result=trial.result)
