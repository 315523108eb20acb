"""A study in one YAML file: what is fixed, what is searched, and how.

study:     {name: rcn, seed: 0, trial_batch_size: 4}; with a batch size the study is repeatable
base:      a training configuration; what is not searched stays as it says
search:    key.path: {int: [4, 7]} | {float: [1.0e-4, 1.0e-2], log: true} | {choice: [paper, 16]}, each with
           ``when: {other.key: value or list}``. Of a list of such ranges the first whose conditions hold is sampled;
           where none holds, the key keeps the value of ``base``. A bound may depend on a key further up or in
           ``base``: ``{int: [5, {key: augment.occluder.max_px, scale: 0.5, offset: -5}]}``
initial_trials: settings to try first, each with ``key.path: value`` for every parameter that is sampled there
runs:      in place of ``search``, ``NAME: {key.path: value, …}``: a fixed-run study trains each run to its last epoch
seeds_per_run: ``NAME: 3``: train a run 3 times, with base.seed, base.seed + 1 and base.seed + 2; by default once
joint_models: ``NAME: [network run, denoiser run]``: models made of two runs, scored with them
budget:    trials (of a search), epochs, max_concurrent, workers_per_trial, and cpus_per_trial and gpus_per_trial of
           each worker
objectives: error, parameters, latency, train_time: what is minimized, error always among them; [error] by default
constraints: {parameters: 500000, latency_ms: 20}: a trial that exceeds one of these limits is infeasible
scheduler: {name: asha, grace_epochs: 1, reduction_factor: 3}, or another of `rcn_search.study.space.options`
sampler:   {name: tpe, num_startup_trials: 10}, or another
stop:      {no_gain: 30} or {regret: 0.5}: end the search before its last trial, when more trials gain nothing
replication: {top: 3, seeds: 3}: train the best trials again with other seeds before one of them is called the winner
test:      the test evaluation of the best trial
callbacks: {tensorboard: true, mlflow: {experiment: …}, wandb: {project: …}}: experiment trackers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, model_validator

from rcn_search.config.errors import ConfigError
from rcn_search.config.loading import merge, resolve_train_config
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.study.space import sections
from rcn_search.study.space.options import Asha, Pbt, Sampler, Scheduler, Tpe
from rcn_search.study.space.parameter import (
    ConditionalRanges,
    Key,
    Parameter,
    Scalar,
    Values,
    is_one_of,
    parameter_name,
)

RUN, SEED = "run", "seed"
"""Parameters of a fixed-run study: the name of a run, and the index of its seed, from 0."""
PARENT, NO_PARENT = "parent", -1
"""Additional parameter of population-based training: number of the trial whose checkpoint a trial starts from."""
_MAX_PARENT = 10**6

Objective = Literal["error", "parameters", "latency", "train_time"]
ERROR: Objective = "error"
PARAMETERS: Objective = "parameters"
LATENCY: Objective = "latency"
TRAIN_TIME: Objective = "train_time"


class StudyConfig(FrozenModel):
    """Content of a study file; `rcn_search.study.loading.load_study_config` reads and checks one.

    >>> config = StudyConfig.model_validate({
    ...     "study": {"name": "example"},
    ...     "base": {"data": {"uri": "data/mtfl"}, "model": {"name": "rcn"}},
    ...     "search": {"optimizer.lr": {"float": [1e-4, 1e-2], "log": True}},
    ...     "budget": {"trials": 20, "epochs": 5},
    ... })
    >>> config.train_config({"optimizer.lr": 2e-3}).optimizer.lr
    0.002
    >>> config.with_trials(40).budget.trials
    40
    """

    study: sections.StudyInfo
    base: dict[str, Any]
    search: dict[Key, ConditionalRanges] = Field({})
    initial_trials: tuple[Values, ...] = ()
    runs: dict[str, Values] = Field({})
    seeds_per_run: dict[str, Annotated[int, Field(ge=1)]] = Field({})
    joint_models: dict[str, tuple[str, str]] = Field({})
    budget: sections.Budget
    # Left out of study.json at their defaults, so that a study does not change when a version adds such an option.
    objectives: tuple[Objective, ...] = Field((ERROR,), min_length=1, exclude_if=lambda names: names == (ERROR,))
    constraints: sections.Constraints = Field(
        sections.Constraints(), exclude_if=lambda limits: limits == sections.Constraints()
    )
    scheduler: Scheduler = Asha()
    sampler: Sampler = Tpe()
    stop: sections.StopRule | None = Field(None, exclude_if=lambda rule: rule is None)
    replication: sections.ReplicationConfig | None = Field(None, exclude_if=lambda options: options is None)
    test: sections.TestEvaluationConfig | None = None
    callbacks: sections.CallbackOptions = Field(
        sections.CallbackOptions(), exclude_if=lambda options: options == sections.CallbackOptions()
    )

    @model_validator(mode="before")
    @classmethod
    def _disable_scheduler_of_runs(cls, document: Any) -> Any:
        has_runs = isinstance(document, dict) and "runs" in document
        return {"scheduler": {"name": "none"}, **document} if has_runs else document

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the configuration; what was derived from it is computed again."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("base_config", None)
        return copied

    def with_trials(self, num_trials: int) -> Self:
        """Copy the configuration with another ``budget.trials``."""
        return self.model_copy(update={"budget": self.budget.model_copy(update={"trials": num_trials})})

    @property
    def parameter_names(self) -> list[str]:
        """Names of all parameters: a key, or ``model.channels[1]`` for a key with several ranges."""
        counts = {path: len(ranges) for path, ranges in self.search.items()}
        return [parameter_name(path, index, count) for path, count in counts.items() for index in range(count)]

    @property
    def fixed_trials(self) -> list[Values]:
        """Parameters of every trial of a fixed-run study, in order."""
        return [{RUN: run, SEED: seed} for run in self.runs for seed in range(self.seeds_per_run.get(run, 1))]

    def run_values(self, run: str, seed: int = 0) -> Values:
        """Return the values that a run sets, for one of its seeds."""
        return {**self.runs[run], "seed": self.base_config.seed + seed}

    def train_document(self, values: Values) -> dict[str, Any]:
        """Lay ``values`` and the settings of the budget over ``base``."""
        budget = {
            "schedule": {"epochs": self.budget.epochs},
            "compute": {"threads": max(1, int(self.budget.cpus_per_trial))},
        }
        return overlay(merge(self.base, budget), values)

    def train_config(self, values: Values) -> TrainConfig:
        """Build the training configuration of a trial; ConfigError if the values together are not a legal one."""
        return resolve_train_config(self.train_document(values), source="trial")

    @cached_property
    def base_config(self) -> TrainConfig:
        """Training configuration without any searched value."""
        return self.train_config({})

    def draw(self, choose: Callable[[str, str, Parameter], Scalar]) -> Values:
        """Build one setting by calling ``choose(path, name, parameter)`` for each parameter that is sampled in it.

        Keys are visited in the order of the file. ``name`` is that of `parameter_names`; ``parameter`` has the bounds
        that hold in this setting.

        Raises:
            ConfigError: A range that depends on other keys is empty, or depends on a value that is not a number.
        """
        values: Values = {}
        for path, ranges in self.search.items():
            for index, parameter in enumerate(ranges):
                if all(self._holds(key, allowed, values) for key, allowed in parameter.when.items()):
                    name = parameter_name(path, index, len(ranges))
                    values[path] = choose(path, name, self._resolve(path, parameter, values))
                    break
        return values

    def sample(self, trial: optuna.Trial) -> Values:
        """Sample one setting with Optuna; in a fixed-run study, whose trials are all enqueued, the next run."""
        if self.runs:
            run = trial.suggest_categorical(RUN, tuple(self.runs))
            return self.run_values(run, trial.suggest_int(SEED, 0, max(self.seeds_per_run.values(), default=1) - 1))

        if isinstance(self.scheduler, Pbt):
            trial.suggest_int(PARENT, NO_PARENT, _MAX_PARENT)

        def choose(path: str, name: str, parameter: Parameter) -> Scalar:
            kind = parameter.distribution
            if isinstance(kind, IntDistribution):
                return trial.suggest_int(name, kind.low, kind.high, log=kind.log, step=kind.step)
            if isinstance(kind, FloatDistribution):
                return trial.suggest_float(name, kind.low, kind.high, log=kind.log, step=kind.step)
            assert isinstance(kind, CategoricalDistribution)
            return trial.suggest_categorical(name, kind.choices)

        return self.draw(choose)

    def initial_params(self, values: Values) -> Values:
        """Convert an initial trial to parameters by name, as Optuna enqueues them.

        Raises:
            ConfigError: A value is missing, out of its range, or of a key that is not sampled there.
        """
        params: Values = {PARENT: NO_PARENT} if isinstance(self.scheduler, Pbt) else {}

        def choose(path: str, name: str, parameter: Parameter) -> Scalar:
            if path not in values:
                raise ConfigError(f"{path} is missing: an initial trial needs a value for every parameter")
            if not parameter.contains(values[path]):
                raise ConfigError(f"{path} = {values[path]!r} is out of its range: {parameter}")
            params[name] = values[path]
            return values[path]

        setting = self.draw(choose)
        if unused := sorted(values.keys() - setting.keys()):
            raise ConfigError(f"{unused[0]} is not a parameter here: it is not searched, or its 'when' does not hold")
        return params

    def unconditional_ranges(self) -> dict[str, BaseDistribution]:
        """Return the int and float ranges that are the same in every setting, by parameter name."""
        distributions: dict[str, BaseDistribution] = {}
        for path, ranges in self.search.items():
            first = ranges[0]
            if first.choice is None and first.is_always_sampled:
                distributions[parameter_name(path, 0, len(ranges))] = first.distribution
        return distributions

    def _resolve(self, path: str, parameter: Parameter, values: Values) -> Parameter:
        def number_at(key: str) -> float:
            if key in self.search and key not in values:
                raise ValueError(f"it depends on {key}, which is not sampled there: restrict it with 'when'")
            value = values[key] if key in values else value_at(self.base_config, key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"it depends on {key}, which is {value!r} there and not a number")
            return value

        try:
            return parameter.resolve(number_at)
        except ValueError as error:
            where = ", ".join(f"{key}={values[key]}" for key in parameter.depends_on if key in values)
            raise ConfigError(f"{path}{f' where {where}' if where else ''}: {error}") from None

    def _holds(self, key: str, allowed: tuple[Scalar, ...], values: Values) -> bool:
        """Whether a condition's key has an allowed value; a searched key that was not sampled has none."""
        if key in values:
            return is_one_of(values[key], allowed)
        return key not in self.search and is_one_of(value_at(self.base_config, key), allowed)


def overlay(document: dict[str, Any], values: Values) -> dict[str, Any]:
    """Return a copy of a document with ``values`` set at their dotted paths."""
    for path, value in values.items():
        nested: Any = value
        for key in reversed(path.split(".")):
            nested = {key: nested}
        document = merge(document, nested)
    return document


def value_at(config: TrainConfig, path: str) -> Any:
    """Return the value at a dotted path; None if there is no such key."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
    return value
