"""Reading a study file, and proving it before anything starts: all keys exist, all that can be drawn is legal."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

from rcn_search import storage
from rcn_search.config.errors import ConfigError, Lines, location, nearest_line
from rcn_search.config.loading import apply_override, read_yaml, resolve_train_config, validate
from rcn_search.study.samplers import check_sampler
from rcn_search.study.space.options import NoScheduler, Pbt
from rcn_search.study.space.parameter import Parameter, Scalar, Values
from rcn_search.study.space.study_config import ERROR, LATENCY, TRAIN_TIME, StudyConfig, overlay, value_at

NUM_CORNERS = 256
"""Settings at random ends of all ranges that must be legal together. A rule between ranges that is broken anywhere is
broken at a corner; one between two of them is missed with probability 0.75 to the power of this."""

FROM_BUDGET = {"schedule.epochs": "budget.epochs", "compute.threads": "budget.cpus_per_trial"}
YARDSTICK = ("validation.", "input.size_px", "data.uri", "data.val_split", "data.num_val")
"""What the error of a trial is measured by, hence the same for all."""
SAME_FOR_ALL_ROWS = ("data.uri", "validation.every_epochs", "compute.", "seed", *FROM_BUDGET)
OF_A_SEARCH = ("initial_trials", "sampler", "replication", "test", "objectives", "constraints")


def load_study_config(uri: str, *, overrides: Sequence[str] = (), data_uri: str = "") -> StudyConfig:
    """Read a study file, lay ``key.path=value`` overrides over it and check all of it.

    Args:
        uri: The YAML file.
        overrides: For example ``budget.trials=3`` or ``base.seed=1``.
        data_uri: Data set, instead of ``base.data.uri``.

    Raises:
        ConfigError: File, line and key of what is wrong, and what is allowed.
    """
    document, lines = read_yaml(uri)
    for override in overrides:
        apply_override(document, override, lines)
    if data_uri:
        apply_override(document, f"base.data.uri={json.dumps(data_uri)}", lines)
    space = validate(StudyConfig, document, source=uri, lines=lines)
    _check(space, uri, lines)
    # Trials run in folders of their own.
    place: Values = {"data.uri": storage.absolute(space.train_config({}).data.uri)}
    return space.model_copy(update={"base": overlay(space.base, place)})


def _check(space: StudyConfig, source: str, lines: Lines) -> None:
    def at(*path: str | int) -> str:
        return location(source, lines, path)

    base_lines = {path[1:]: line for path, line in lines.items() if path[0] == "base"}
    base = resolve_train_config(space.base, source=f"{source}: base", lines=base_lines)
    for key, setting in FROM_BUDGET.items():
        section, leaf = key.split(".")
        if key in space.search or leaf in space.base.get(section, {}):
            where = ("search", key) if key in space.search else ("base", section, leaf)
            raise ConfigError(f"{at(*where)}: {key} is set by {setting}")
    if bool(space.search) == bool(space.runs):
        raise ConfigError(f"{at('runs')}: a study has either something to search or runs: give one of the two")
    for key in space.search:
        if key.startswith(YARDSTICK):
            raise ConfigError(f"{at('search', key)}: {key} cannot be searched: trials are compared by it")
        if key.startswith("augment.") and base.validation.augment:
            raise ConfigError(
                f"{at('search', key)}: while {key} is searched, base.validation.augment must be false: each trial would "
                "be validated on images jittered by ranges of its own, and the smallest ranges would win"
            )
    if base.validation.every_epochs != 1:
        raise ConfigError(f"{at('base', 'validation', 'every_epochs')}: validation.every_epochs must be 1 in a search")
    _check_objectives(space, at)
    _check_synchronous(space, at)
    if space.runs:
        _check_rows(space, source, lines, at)
        return
    if space.budget.trials is None:
        raise ConfigError(f"{at('budget')}: budget.trials is required")
    if not isinstance(space.scheduler, NoScheduler) and space.scheduler.grace_epochs > space.budget.epochs:
        raise ConfigError(
            f"{at('scheduler', 'grace_epochs')}: scheduler.grace_epochs = {space.scheduler.grace_epochs}: "
            f"no more than budget.epochs = {space.budget.epochs}"
        )
    _check_depending(space, at)
    seen: list[str] = []
    for path, alternatives in space.search.items():
        for parameter in alternatives[:-1]:
            if not parameter.when:
                raise ConfigError(
                    f"{at('search', path)}: search.{path}: below a range without 'when' none is ever drawn"
                )
        for parameter in alternatives:
            _check_parameter(space, path, parameter, at("search", path), seen)
        seen.append(path)
    _check_corners(space, at("search"))
    try:
        check_sampler(space)
    except ValueError as error:
        raise ConfigError(f"{at('sampler')}: sampler {space.sampler.name}: {error}") from None
    for index, point in enumerate(space.initial_trials):
        try:
            space.initial_params(point)
        except ConfigError as error:
            raise ConfigError(f"{at('initial_trials', index)}: initial_trials[{index}]: {error}") from None
    if space.replication and isinstance(space.scheduler, Pbt):
        raise ConfigError(
            f"{at('replication')}: replication: a trial of scheduler pbt is a chapter of a longer training, whose settings "
            "changed on the way: trained alone it is another"
        )
    if space.replication and space.test and space.test.retrain:
        raise ConfigError(
            f"{at('test', 'retrain')}: test.retrain: with replication it is the replicates that are scored, as the "
            "winner was named by them; train it further with rcn-search study best --config and rcn-search train"
        )
    if space.test is not None:
        resolve_train_config(
            overlay(base.model_dump(), space.test.retrain), source=f"{at('test', 'retrain')}: test.retrain"
        )


def _check_objectives(space: StudyConfig, at: Callable[..., str]) -> None:
    """Each objective stands once, and the error is one: without it the smallest network would win."""
    for name in space.objectives:
        if space.objectives.count(name) > 1:
            raise ConfigError(f"{at('objectives')}: objectives: {name} stands twice")
    if ERROR not in space.objectives:
        raise ConfigError(
            f"{at('objectives')}: objectives: {ERROR} must be one of them; trials are stopped early by it"
        )


def _check_synchronous(space: StudyConfig, at: Callable[..., str]) -> None:
    """Nothing in a repeatable study depends on a clock."""
    if space.study.trial_batch_size is None:
        return
    timed = [name for name in (LATENCY, TRAIN_TIME) if name in space.objectives]
    if space.constraints.latency_ms is not None:
        timed.append(LATENCY)
    if space.runs:
        reason = "fixed runs are the same whenever they are run"
    elif timed:
        reason = f"{timed[0]} is another in each run"
    elif isinstance(space.scheduler, Pbt):
        reason = "scheduler pbt copies whatever checkpoint the parent has at that moment"
    else:
        return
    raise ConfigError(
        f"{at('study', 'trial_batch_size')}: a synchronous study (--deterministic) is not for this: {reason}"
    )


def _check_rows(space: StudyConfig, source: str, lines: Lines, at: Callable[..., str]) -> None:
    """Every row is a legal configuration, and nothing stands there that only a search has a use for."""
    for section in OF_A_SEARCH:
        if section in space.model_fields_set:
            raise ConfigError(f"{at(section)}: {section} belongs to a search; a fixed-run study trains its runs")
    if space.budget.trials is not None:
        raise ConfigError(
            f"{at('budget', 'trials')}: budget.trials: runs and seeds_per_run say how many trials there are"
        )
    if not isinstance(space.scheduler, NoScheduler):
        raise ConfigError(
            f"{at('scheduler')}: runs are never stopped early: scheduler: {{name: none}}, or leave it out"
        )
    for name, values in space.runs.items():
        row_lines: Lines = {}
        for key in values:
            if key.startswith(SAME_FOR_ALL_ROWS):
                raise ConfigError(
                    f"{at('runs', name, key)}: {key} is the same for all runs, or set by budget or seeds_per_run"
                )
            path = tuple(key.split("."))
            for end in range(1, len(path) + 1):
                row_lines.setdefault(path[:end], nearest_line(lines, ("runs", name, key)))
        document = space.train_document(space.run_values(name))
        resolve_train_config(document, source=f"{source}: run {name!r}", lines=row_lines)
    named = [("seeds_per_run", name, (name,)) for name in space.seeds_per_run]
    for section, name, parts in [
        *named,
        *(("joint_models", name, parts) for name, parts in space.joint_models.items()),
    ]:
        for part in parts:
            if part not in space.runs:
                raise ConfigError(f"{at(section, name)}: {section}: there is no run {part!r}")
        if section == "joint_models" and name in space.runs:
            raise ConfigError(f"{at(section, name)}: {section}: {name!r} is a run already")


def _check_depending(space: StudyConfig, at: Callable[..., str]) -> None:
    """What a range depends on is searched further up, or stands in base."""
    base, seen = space.train_config({}), set()
    for path, alternatives in space.search.items():
        for key in (key for parameter in alternatives for key in parameter.depends_on):
            if key in space.search and key not in seen:
                problem = "which is searched only further down"
            elif key not in space.search and value_at(base, key) is None:
                problem = "which is nowhere"
            else:
                continue
            raise ConfigError(f"{at('search', path)}: search.{path}: its range depends on {key}, {problem}")
        seen.add(path)


def _check_parameter(space: StudyConfig, path: str, parameter: Parameter, where: str, seen: list[str]) -> None:
    """Its key exists, its conditions can hold, and both ends (or all choices) are legal where they do."""
    base = space.train_config({})
    for key, allowed in parameter.when.items():
        if key in space.search and key not in seen:
            raise ConfigError(f"{where}: search.{path}: 'when' names {key}, which is searched only further down")
        can_hold = (
            any(each.depends_on or each.contains(value) for each in space.search[key] for value in allowed)
            if key in space.search
            else value_at(base, key) in allowed
        )
        if not can_hold:
            raise ConfigError(f"{where}: search.{path}: 'when' never holds: {key} is never {_or(allowed)}")
    if parameter.depends_on:
        return  # its ends are those of a setting: the corners
    for value in parameter.ends:
        try:
            drawn = _setting(space, {**parameter.when, path: (value,)})
        except ConfigError:
            continue  # the range of another key is empty there: the corners say so
        try:
            space.train_config(drawn)
        except ConfigError as error:
            # Not its fault if the rest alone is no better; then the check of another key says so.
            if _is_legal(space, {key: each for key, each in drawn.items() if key != path}):
                raise ConfigError(f"{where}: search.{path} = {value}: {error}") from None


def _setting(space: StudyConfig, wanted: dict[str, tuple[Scalar, ...]]) -> Values:
    """One setting with the wanted values where they are in range, else those of ``base``, else the first in range."""
    base = space.train_config({})

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        candidates = (*wanted.get(path, ()), value_at(base, path))
        return next((value for value in candidates if parameter.contains(value)), parameter.ends[0])

    return space.draw(choose)


def _is_legal(space: StudyConfig, values: Values) -> bool:
    try:
        space.train_config(values)
    except ConfigError:
        return False
    return True


def _check_corners(space: StudyConfig, where: str) -> None:
    corner = random.Random(0)

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        return corner.choice(parameter.ends)

    for _ in range(NUM_CORNERS):
        values: Values = {}
        try:
            values = space.draw(choose)
            space.train_config(values)
        except ConfigError as error:
            setting = ", ".join(f"{path}={value}" for path, value in values.items())
            raise ConfigError(
                f"{where}: values that can be drawn together are not legal: {error}"
                + (f". Drawn: {setting}" if setting else "")
            ) from None


def _or(values: Sequence[Scalar]) -> str:
    return " or ".join(map(str, values))
