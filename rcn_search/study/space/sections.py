"""Sections of a study file: name and seed, budget, constraints, test evaluation, replication, callbacks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rcn_search.config.schema import FrozenModel
from rcn_search.study.space.parameter import Values


class StudyInfo(FrozenModel):
    """Section ``study``: name and seed of a study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Name of the study, and of its folder.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the sampler; base.seed is the seed of the training.")
    trial_batch_size: int | None = Field(
        None,
        ge=1,
        description="Trials proposed together; a seed then gives the same trials on any cluster, even after crashes.",
        exclude_if=lambda size: size is None,
    )


class CostLimit(FrozenModel):
    """Key ``budget.max_cost``: price of an hour of a reserved GPU and CPU, and what may be spent, in any currency."""

    per_gpu_hour: float = Field(0, ge=0, description="Price of a GPU for an hour.")
    per_cpu_hour: float = Field(0, ge=0, description="Price of a CPU core for an hour.")
    limit: float = Field(gt=0, description="Cost at which the search is stopped.")

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if not (self.per_gpu_hour or self.per_cpu_hour):
            raise ValueError("both prices are 0, so the limit would never be reached; set per_gpu_hour or per_cpu_hour")
        return self


def _is_none(value: object) -> bool:
    return value is None


class Budget(FrozenModel):
    """Section ``budget``: how much is trained, and how much at once."""

    trials: int | None = Field(None, ge=1, description="Trials of a search; runs and seeds_per_run imply them.")
    epochs: int = Field(ge=1, description="Epochs of each trial, unless it is stopped early.")
    max_concurrent: int | Literal["auto"] = Field("auto", description="Trials at once; auto: as many as fit.")
    workers_per_trial: int = Field(1, ge=1, description="Processes per trial.", exclude_if=lambda num: num == 1)
    cpus_per_trial: float = Field(1, gt=0, description="CPU cores, and threads, of each worker of a trial.")
    gpus_per_trial: float = Field(0, ge=0, le=1, description="Share of one GPU of each worker of a trial.")
    max_hours: float | None = Field(
        None, gt=0, exclude_if=_is_none, description="Hours, over all resumes, after which the search is stopped."
    )
    max_gpu_hours: float | None = Field(
        None, gt=0, exclude_if=_is_none, description="GPU hours reserved for trials, after which it is stopped."
    )
    max_cost: CostLimit | None = Field(
        None, exclude_if=_is_none, description="Cost of what is reserved for trials, at which it is stopped."
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        key = "max_gpu_hours" if self.max_gpu_hours is not None else "max_cost"
        needs_gpu = self.max_gpu_hours is not None or (self.max_cost is not None and not self.max_cost.per_cpu_hour)
        if needs_gpu and not self.gpus_per_trial:
            raise ValueError(f"{key} counts GPUs, and gpus_per_trial is 0: it would never be reached")
        return self

    @model_validator(mode="after")
    def _check_gpus(self) -> Self:
        if self.workers_per_trial > 1 and self.gpus_per_trial not in (0, 1):
            raise ValueError(
                f"workers_per_trial is {self.workers_per_trial} and gpus_per_trial {self.gpus_per_trial:g}: workers of "
                "a trial cannot share a GPU; set gpus_per_trial to 1"
            )
        return self


class StopRule(FrozenModel):
    """Section ``stop``: when a search ends before its last trial; running trials end as they would have."""

    no_gain: int | None = Field(
        None, ge=1, description="Trials in a row that knew the best one and are no better.", exclude_if=_is_none
    )
    regret: float | None = Field(
        None,
        gt=0,
        lt=100,
        description="Percentage points by which a better setting may still improve on the best, by a bound on them.",
        exclude_if=_is_none,
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.no_gain is None and self.regret is None:
            raise ValueError("it can never hold: give no_gain, regret or both, as in {no_gain: 30}")
        return self

    def __str__(self) -> str:
        """For example ``stops after 30 trials without gain``."""
        gain = [f"after {self.no_gain} trials without gain"] if self.no_gain is not None else []
        regret = [f"at a regret below {self.regret:g} points"] if self.regret is not None else []
        return f"stops {' or '.join(gain + regret)}"


class Constraints(FrozenModel):
    """Section ``constraints``: limits of a feasible trial."""

    parameters: int | None = Field(None, ge=1, description="Largest number of trainable values.")
    latency_ms: float | None = Field(None, gt=0, description="Longest time for one face on the trial's machine, in ms.")


class TestEvaluationConfig(FrozenModel):
    """Section ``test``: the best trial is scored once on a test split and submitted to the leaderboard."""

    split: str = Field(description="Name of the test split.")
    method: str = Field(min_length=1, description="Name of the method on the leaderboard.")
    retrain: Annotated[Values, BeforeValidator(lambda values: {} if values is None else values)] = Field(
        {}, description="Keys to set for training the configuration again; if empty, the trial's checkpoint is scored."
    )


class ReplicationConfig(FrozenModel):
    """Section ``replication``: the best trials are trained again with other seeds, which decide the winner."""

    top: int = Field(3, ge=1, description="Number of trials, best validation error first.")
    seeds: int = Field(3, ge=2, description="Trainings of each, with base.seed + 1, base.seed + 2 and so on.")
    baseline: bool = Field(
        False,
        description="Train the first initial trial again, too, as the baseline.",
        exclude_if=lambda flag: not flag,
    )


class Mlflow(FrozenModel):
    """MLflow through Ray's callback: one run per trial."""

    experiment: str | None = Field(None, description="Name of the experiment; by default the study's name.")
    tags: dict[str, str] = Field({}, description="Tags of all runs.")


class Wandb(FrozenModel):
    """Weights & Biases through Ray's callback: one run per trial."""

    project: str = Field(min_length=1, description="Name of the project.")
    entity: str | None = Field(None, description="Team; by default your own account.")
    group: str | None = Field(None, description="Group of the runs; by default the study's name.")
    mode: str | None = Field(
        None, pattern="^(online|offline|disabled)$", description="online, offline or disabled; by default WANDB_MODE."
    )


class CallbackOptions(FrozenModel):
    """Section ``callbacks``: which experiment trackers a search reports to.

        callbacks:
          tensorboard: false                        # on by default
          mlflow: {experiment: rcn}                 # server and credentials: MLFLOW_TRACKING_URI and MLflow's variables
          wandb:  {project: rcn, group: first}      # credentials: WANDB_API_KEY, or `wandb login`

    The trackers read keys and passwords from the environment. They never belong in a study file, because it is
    published with the study.
    """

    tensorboard: bool = Field(True, description="Write TensorBoard events into the study's folder.")
    mlflow: Mlflow | None = Field(None, description="Report to MLflow.")
    wandb: Wandb | None = Field(None, description="Report to Weights & Biases.")
