"""Reading a study file, and checking all of it before anything starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rcn_search import storage
from rcn_search.config.errors import ConfigError, Lines, nearest_line
from rcn_search.config.loading import apply_override, read_yaml, resolve_train_config, validate
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.resources import absolute_weights
from rcn_search.study.samplers import check_sampler
from rcn_search.study.space.checks import StudyFile, check_search_space
from rcn_search.study.space.options import NoScheduler, Pbt
from rcn_search.study.space.parameter import Scalar, Values
from rcn_search.study.space.study_config import ERROR, LATENCY, TRAIN_TIME, StudyConfig, overlay
from rcn_search.study.stopping import check_stop

SET_BY_BUDGET = {"schedule.epochs": "budget.epochs", "compute.threads": "budget.cpus_per_trial"}
SET_FOR_ALL_RUNS = ("data.uri", "validation.every_epochs", "checkpoint.", "compute.", "seed", *SET_BY_BUDGET)
COMPARED_BY = ("validation.", "input.size_px", "data.uri", "data.val_split", "data.num_val")
"""Prefixes of the keys that decide how the validation error is measured; they are the same for all trials."""
SEARCH_SECTIONS = ("initial_trials", "sampler", "stop", "replication", "test", "objectives", "constraints")
"""Sections of a study file that a fixed-run study cannot have."""


def load_study_config(uri: str, *, overrides: Sequence[str] = (), data_uri: str = "") -> StudyConfig:
    """Read a study file, lay ``key.path=value`` overrides over it, and check all of it.

    ``data_uri`` takes the place of ``base.data.uri``.

    >>> config = load_study_config("search_spaces/rcn.yaml", overrides=["budget.trials=3"])
    >>> config.study.name, config.budget.trials, config.base_config.model.name
    ('rcn', 3, 'rcn')

    Raises:
        ConfigError: Something is wrong; the message names file, line and key, and what is allowed.
    """
    document, lines = read_yaml(uri)
    for override in overrides:
        apply_override(document, override, lines)
    if data_uri:
        apply_override(document, f"base.data.uri={json.dumps(data_uri)}", lines)
    _check_sections(document, StudyFile(uri, lines))
    config = validate(StudyConfig, document, source=uri, lines=lines)
    _check(config, StudyFile(uri, lines))
    # Trials run in folders of their own, so the path of the data set must not be relative.
    paths: Values = {"data.uri": storage.absolute(config.base_config.data.uri)}
    if init := config.base_config.init:
        paths["init.weights"] = absolute_weights(init.weights)
    runs = {name: {key: _absolute(key, value) for key, value in run.items()} for name, run in config.runs.items()}
    return config.model_copy(update={"base": overlay(config.base, paths), "runs": runs})


def _absolute(key: str, value: Scalar) -> Scalar:
    return absolute_weights(value) if key in ("init", "init.weights") and isinstance(value, str) else value


def _check_sections(document: dict[str, Any], file: StudyFile) -> None:
    """Check that no section of a training configuration stands at the top, where it has no meaning."""
    for section, value in document.items():
        if section in TrainConfig.model_fields:
            path = [section]
            while isinstance(value, dict) and len(value) == 1:
                ((key, value),) = value.items()
                path.append(key)
            key = ".".join(path)
            raise file.error(
                tuple(path), f"unknown key {key!r}: a study sets the keys of its trainings below base, as base.{key}"
            )


def _check(config: StudyConfig, file: StudyFile) -> None:
    base_lines = {path[1:]: line for path, line in file.lines.items() if path[0] == "base"}
    base = resolve_train_config(config.base, source=f"{file.uri}: base", lines=base_lines)
    for key, setting in SET_BY_BUDGET.items():
        section, leaf = key.split(".")
        if key in config.search or leaf in config.base.get(section, {}):
            path = ("search", key) if key in config.search else ("base", section, leaf)
            raise file.error(path, f"{key} is set by {setting}")
    if bool(config.search) == bool(config.runs):
        raise file.error(("runs",), "a study has either parameters to search or fixed runs: give one of the two")
    if base.validation.every_epochs != 1:
        raise file.error(("base", "validation", "every_epochs"), "validation.every_epochs must be 1 in a study")
    _check_objectives(config, file)
    _check_repeatable(config, file)
    if config.runs:
        _check_runs(config, file)
    else:
        _check_search(config, base, file)


def _check_search(config: StudyConfig, base: TrainConfig, file: StudyFile) -> None:
    for key in config.search:
        if key.startswith(COMPARED_BY):
            raise file.error(("search", key), f"{key} cannot be searched: trials are compared by it")
        if key in ("init", "init.weights", "init.sha256"):
            raise file.error(
                ("search", key), f"{key} cannot be searched: set base.init, or compare weights in a fixed-run study"
            )
        if key.startswith("checkpoint."):
            raise file.error(("search", key), f"{key} cannot be searched: it changes no result")
        if key.startswith("augment.") and base.validation.augment:
            raise file.error(
                ("search", key),
                f"base.validation.augment must be false while {key} is searched: otherwise each trial is validated "
                "with its own augmentation, and the weakest augmentation wins",
            )
    if config.budget.trials is None:
        raise file.error(("budget",), "budget.trials is required")
    if not isinstance(config.scheduler, NoScheduler) and config.scheduler.grace_epochs > config.budget.epochs:
        raise file.error(
            ("scheduler", "grace_epochs"),
            f"scheduler.grace_epochs = {config.scheduler.grace_epochs} must be at most budget.epochs = "
            f"{config.budget.epochs}",
        )
    check_search_space(config, file)
    try:
        check_sampler(config)
    except RcnSearchError as error:
        raise file.error(("sampler",), f"sampler {config.sampler.name}: {error}") from None
    try:
        check_stop(config)
    except RcnSearchError as error:
        raise file.error(("stop",), f"stop: {error}") from None
    for index, values in enumerate(config.initial_trials):
        try:
            config.initial_params(values)
        except ConfigError as error:
            raise file.error(("initial_trials", index), f"initial_trials[{index}]: {error}") from None
    _check_end(config, base, file)


def _check_end(config: StudyConfig, base: TrainConfig, file: StudyFile) -> None:
    """Check what follows the search: replication and test evaluation."""
    if config.replication and isinstance(config.scheduler, Pbt):
        raise file.error(
            ("replication",),
            "replication: trials of scheduler pbt cannot be replicated: their settings change during the training",
        )
    if config.replication and config.replication.baseline and not config.initial_trials:
        raise file.error(
            ("replication", "baseline"),
            "replication.baseline: the baseline is the first of initial_trials, and there is none",
        )
    if config.replication and config.test and config.test.retrain:
        raise file.error(
            ("test", "retrain"),
            "test.retrain: with replication, the replication runs are scored, since they decide the winner. To train "
            "it further, use rcn-search study best --config and rcn-search train",
        )
    if config.test is not None:
        resolve_train_config(
            overlay(base.model_dump(), config.test.retrain), source=f"{file.at(('test', 'retrain'))}: test.retrain"
        )


def _check_objectives(config: StudyConfig, file: StudyFile) -> None:
    for name in config.objectives:
        if config.objectives.count(name) > 1:
            raise file.error(("objectives",), f"objectives: {name} is listed twice")
    if ERROR not in config.objectives:
        raise file.error(("objectives",), f"objectives: {ERROR} must be one of them; trials are pruned by it")


def _check_repeatable(config: StudyConfig, file: StudyFile) -> None:
    """Check that nothing in a repeatable study depends on a clock."""
    if config.study.trial_batch_size is None:
        return
    timed = [name for name in (LATENCY, TRAIN_TIME) if name in config.objectives]
    if config.constraints.latency_ms is not None:
        timed.append(LATENCY)
    if config.runs:
        reason = "fixed runs are repeatable anyway"
    elif timed:
        reason = f"{timed[0]} differs from run to run"
    elif isinstance(config.scheduler, Pbt):
        reason = "scheduler pbt copies the checkpoint that the parent happens to have"
    else:
        return
    raise file.error(
        ("study", "trial_batch_size"), f"this study cannot have a trial_batch_size (--deterministic): {reason}"
    )


def _check_runs(config: StudyConfig, file: StudyFile) -> None:
    """Check that every run is a legal configuration, and that no section of a search is given."""
    for section in SEARCH_SECTIONS:
        if section in config.model_fields_set:
            raise file.error((section,), f"{section} belongs to a search; a fixed-run study cannot have it")
    if config.budget.trials is not None:
        raise file.error(("budget", "trials"), "budget.trials: runs and seeds_per_run give the number of trials")
    if not isinstance(config.scheduler, NoScheduler):
        raise file.error(("scheduler",), "fixed runs are never pruned: remove the scheduler, or set {name: none}")
    for name, values in config.runs.items():
        run_lines: Lines = {}
        for key in values:
            if key.startswith(SET_FOR_ALL_RUNS):
                raise file.error(
                    ("runs", name, key), f"{key} must be the same for all runs, or is set by budget or seeds_per_run"
                )
            path = tuple(key.split("."))
            for end in range(1, len(path) + 1):
                run_lines.setdefault(path[:end], nearest_line(file.lines, ("runs", name, key)))
        document = config.train_document(config.run_values(name))
        resolve_train_config(document, source=f"{file.uri}: run {name!r}", lines=run_lines)
    seeds = [("seeds_per_run", name, (name,)) for name in config.seeds_per_run]
    joint = [("joint_models", name, parts) for name, parts in config.joint_models.items()]
    for section, name, parts in [*seeds, *joint]:
        for part in parts:
            if part not in config.runs:
                raise file.error((section, name), f"{section}: there is no run {part!r}")
        if section == "joint_models" and name in config.runs:
            raise file.error((section, name), f"{section}: {name!r} is the name of a run already")
