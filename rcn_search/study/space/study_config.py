"""A study in one YAML file: what is fixed, what is searched and how, as a define-by-run Optuna space.

study:     {name: rcn, seed: 0, synchronous: 4}: the last makes it repeatable, in rounds of 4 trials
base:      a `TrainConfig` document; what is not searched stays as it says
search:    key.path: {int: [4, 7]} | {float: [1.0e-4, 1.0e-2], log: true} | {choice: [paper, 16]}, each with
           ``when: {other.key: value or list}``; a list of such ranges is tried from the top, the first that holds
           is drawn, and where none holds the key keeps the value of ``base``. An end of a range may depend on a key
           further up or in ``base``: ``{int: [5, {of: augment.occluder.max_px, times: 0.5, plus: -5}]}``
points:    settings to try first, each ``key.path: value`` for all that is drawn there
rows:      instead of a search, ``NAME: {key.path: value, …}``: each row is trained to its end, as a table of a paper is
seeds:     ``NAME: 3``: how often a row is trained, with base.seed, base.seed + 1 and so on; once where nothing is said
joint:     ``NAME: [network row, denoiser row]``: rows made of two of the above when a table is scored
budget:    trials (of a search), epochs, concurrency, workers_per_trial, cpus_per_trial, gpus_per_trial (each worker's)
objectives: error, parameters, latency, train_time: what is minimised, error always among them; [error] by default
constraints: {parameters: 500000, latency_ms: 20}: a trial beyond one of these limits is no result
scheduler: {name: asha, grace_epochs: 1, reduction: 3}, or another of `rcn_search.study.space.options`
sampler:   {name: tpe, startup_trials: 10}, or another
replicate: {top: 3, seeds: 3}: the best trials are trained again before one of them is called the winner
final:     what becomes of the best trial
callbacks: {tensorboard: true, mlflow: {experiment: …}, wandb: {project: …}}: what other tools are told
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, model_validator

from rcn_search.config.loading import ConfigError, merge, resolve_train_config
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.study.space.callback_options import CallbackOptions
from rcn_search.study.space.options import Asha, Pbt, Sampler, Scheduler, Tpe
from rcn_search.study.space.parameter import ConditionalRanges, Parameter, parameter_name
from rcn_search.study.space.parameter import Scalar as Scalar
from rcn_search.study.space.parameter import Values as Values

RUN, SEED = "run", "seed"
"""What is drawn in a study of rows: the name of a row, and which of its seeds, from 0."""
PARENT, NO_PARENT = "parent", -1
"""What is also drawn in population-based training: the number of the trial whose checkpoint a trial starts from."""
_MAX_PARENT = 10**6


Objective = Literal["error", "parameters", "latency", "train_time"]
ERROR: Objective = "error"
PARAMETERS: Objective = "parameters"
LATENCY: Objective = "latency"
TRAIN_TIME: Objective = "train_time"


class StudyInfo(FrozenModel):
    """Identity of a study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    seed: int = Field(0, ge=0, lt=2**32, description="Of the sampler; training has its own, base.seed.")
    trial_batch_size: int | None = Field(
        None,
        ge=1,
        description="Trials of a round, of a study that is the same whenever it is run (see `search.rounds`).",
        exclude_if=lambda size: size is None,
    )


class Budget(FrozenModel):
    """How much, and how much at once."""

    trials: int | None = Field(None, ge=1, description="Of a search; a study of rows has as many as rows and seeds.")
    epochs: int = Field(ge=1, description="Of each trial, unless it is stopped early.")
    max_concurrent: int | Literal["auto"] = Field("auto", description="Trials at once; auto: as many as fit.")
    workers_per_trial: int = Field(
        1, ge=1, description="Processes that train a trial together.", exclude_if=lambda num: num == 1
    )
    cpus_per_trial: float = Field(1, gt=0, description="Of each worker of a trial; also its threads.")
    gpus_per_trial: float = Field(0, ge=0, le=1, description="A share of one GPU, of each worker of a trial.")

    @model_validator(mode="after")
    def _one_gpu_for_each_worker(self) -> Self:
        if self.workers_per_trial > 1 and self.gpus_per_trial not in (0, 1):
            raise ValueError(
                f"workers_per_trial is {self.workers_per_trial} and gpus_per_trial {self.gpus_per_trial:g}: workers of "
                "a trial cannot share a GPU; set gpus_per_trial to 1"
            )
        return self


class Constraints(FrozenModel):
    """Limits of what is a result at all."""

    parameters: int | None = Field(None, ge=1, description="Trainable values, at most.")
    latency_ms: float | None = Field(None, gt=0, description="Of one face on the machine of the trial, at most.")


class TestEvaluationConfig(FrozenModel):
    """What becomes of the best trial: it is scored once on a test split and entered on the board."""

    split: str = Field(description="The test split.")
    method: str = Field(min_length=1, description="Its name on the board.")
    retrain: dict[str, Scalar] = Field(
        {}, description="Train its configuration again with these keys set; empty: its checkpoint is scored as it is."
    )


class ReplicationConfig(FrozenModel):
    """The best trials are trained again with other seeds, and by these the winner is named."""

    top: int = Field(3, ge=1, description="How many trials, by their validation error.")
    seeds: int = Field(3, ge=2, description="How often each: with base.seed + 1, base.seed + 2 and so on.")


class StudyConfig(FrozenModel):
    """One study, as its YAML file has it."""

    study: StudyInfo
    base: dict[str, Any]
    search: dict[str, ConditionalRanges] = Field({})
    initial_trials: tuple[Values, ...] = ()
    runs: dict[str, Values] = Field({})
    seeds_per_run: dict[str, Annotated[int, Field(ge=1)]] = Field({})
    joint_models: dict[str, tuple[str, str]] = Field({})
    budget: Budget
    # A study from before these options has no trace of them, and is the same study while they are at their defaults.
    objectives: tuple[Objective, ...] = Field((ERROR,), min_length=1, exclude_if=lambda names: names == (ERROR,))
    constraints: Constraints = Field(Constraints(), exclude_if=lambda limits: limits == Constraints())
    scheduler: Scheduler = Asha()
    sampler: Sampler = Tpe()
    replication: ReplicationConfig | None = Field(None, exclude_if=lambda options: options is None)
    test: TestEvaluationConfig | None = None
    callbacks: CallbackOptions = Field(CallbackOptions(), exclude_if=lambda options: options == CallbackOptions())

    @model_validator(mode="before")
    @classmethod
    def _rows_run_to_their_end(cls, document: Any) -> Any:
        has_rows = isinstance(document, dict) and "runs" in document
        return {"scheduler": {"name": "none"}, **document} if has_rows else document

    @property
    def parameter_names(self) -> list[str]:
        """Of all parameters: a path, or where it has several ranges ``model.channels[1]``."""
        return [
            parameter_name(path, index, len(alternatives))
            for path, alternatives in self.search.items()
            for index in range(len(alternatives))
        ]

    @property
    def fixed_trials(self) -> list[Values]:
        """Every trial of a study of rows, in order, by what is drawn."""
        return [{RUN: row, SEED: seed} for row in self.runs for seed in range(self.seeds_per_run.get(row, 1))]

    def run_values(self, row: str, seed: int = 0) -> Values:
        """What a row sets, for one of its seeds."""
        return {**self.runs[row], "seed": self.train_config({}).seed + seed}

    def train_document(self, values: Values) -> dict[str, Any]:
        """The training configuration of ``values``: over ``base``, with what the budget says."""
        budget = {
            "schedule": {"epochs": self.budget.epochs},
            "compute": {"threads": max(1, int(self.budget.cpus_per_trial))},
        }
        return overlay(merge(self.base, budget), values)

    def train_config(self, values: Values) -> TrainConfig:
        """`document`, resolved.

        Raises:
            ConfigError: The values together are not a legal configuration.
        """
        return resolve_train_config(self.train_document(values), source="trial")

    def draw(self, choose: Callable[[str, str, Parameter], Scalar]) -> Values:
        """One setting: ``choose(path, name, parameter)`` for each parameter that is drawn, from the top.

        ``name`` is the parameter's own, also where a path has several ranges (``model.channels[1]``); the parameter's
        range is that of this setting.

        Raises:
            ConfigError: A range that depends on other keys is empty, or they are no numbers here.
        """
        base = self.train_config({})
        values: Values = {}
        for path, alternatives in self.search.items():
            for index, parameter in enumerate(alternatives):
                if all(self._has(key, allowed, values, base) for key, allowed in parameter.when.items()):
                    name = parameter_name(path, index, len(alternatives))
                    values[path] = choose(path, name, self._resolved(path, parameter, values, base))
                    break
        return values

    def sample(self, trial: optuna.Trial) -> Values:
        """One setting drawn by Optuna; of a study of rows, whose trials are all enqueued, the next row."""
        if self.runs:
            row = trial.suggest_categorical(RUN, tuple(self.runs))
            return self.run_values(row, trial.suggest_int(SEED, 0, max(self.seeds_per_run.values(), default=1) - 1))

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

    def initial_params(self, point: Values) -> Values:
        """A point by the parameters' own names, as Optuna enqueues it.

        Raises:
            ConfigError: A value is missing, out of its range, or of a key that is not drawn there.
        """
        named: Values = {PARENT: NO_PARENT} if isinstance(self.scheduler, Pbt) else {}

        def choose(path: str, name: str, parameter: Parameter) -> Scalar:
            if path not in point:
                raise ConfigError(f"{path} is missing: a point gives a value to all that is drawn")
            if not parameter.contains(point[path]):
                raise ConfigError(f"{path} = {point[path]!r} is out of its range: {parameter}")
            named[name] = point[path]
            return point[path]

        drawn = self.draw(choose)
        if unused := sorted(point.keys() - drawn.keys()):
            raise ConfigError(
                f"{unused[0]} is not drawn at this point: it is not searched, or its 'when' does not hold"
            )
        return named

    def unconditional_ranges(self) -> dict[str, BaseDistribution]:
        """Ranges of numbers that are the same in every setting, by name: what an algorithm of vectors can move."""
        ranges: dict[str, BaseDistribution] = {}
        for path, alternatives in self.search.items():
            first = alternatives[0]
            if first.choice is None and not first.when and not first.depends_on and not first.distribution.single():
                ranges[parameter_name(path, 0, len(alternatives))] = first.distribution
        return ranges

    def _resolved(self, path: str, parameter: Parameter, values: Values, base: TrainConfig) -> Parameter:
        def number_at(key: str) -> float:
            if key in self.search and key not in values:
                raise ValueError(f"it depends on {key}, which is not drawn there: give it a 'when' that says where")
            value = values[key] if key in values else value_at(base, key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"it depends on {key}, which is {value!r} there, no number")
            return value

        try:
            return parameter.resolve(number_at)
        except ValueError as error:
            where = ", ".join(f"{key}={values[key]}" for key in parameter.depends_on if key in values)
            raise ConfigError(f"{path}{f' where {where}' if where else ''}: {error}") from None

    def _has(self, key: str, allowed: tuple[Scalar, ...], values: Values, base: TrainConfig) -> bool:
        """Whether a condition's key has an allowed value; a searched key that was not drawn has none."""
        return values[key] in allowed if key in values else key not in self.search and value_at(base, key) in allowed


def overlay(document: dict[str, Any], values: Values) -> dict[str, Any]:
    """``values`` by dotted path laid over a document, which stays as it is."""
    for path, value in values.items():
        nested: Any = value
        for key in reversed(path.split(".")):
            nested = {key: nested}
        document = merge(document, nested)
    return document


def value_at(config: TrainConfig, path: str) -> Any:
    """The value at a dotted path; none where there is no such key."""
    place: Any = config
    for key in path.split("."):
        place = getattr(place, key, None)
    return place
