"""Section ``callbacks`` of a study file: which experiment trackers a search reports to.

    callbacks:
      tensorboard: false                        # on by default
      mlflow: {experiment: rcn}                 # server and credentials: MLFLOW_TRACKING_URI and MLflow's variables
      wandb:  {project: rcn, group: first}      # credentials: WANDB_API_KEY, or `wandb login`

The trackers read keys and passwords from the environment. They never belong in a study file, because it is published
with the study.
"""

from __future__ import annotations

from pydantic import Field

from rcn_search.config.schema import FrozenModel


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
    """Section ``callbacks`` of a study file."""

    tensorboard: bool = Field(True, description="Write TensorBoard events into the study's folder.")
    mlflow: Mlflow | None = Field(None, description="Report to MLflow.")
    wandb: Wandb | None = Field(None, description="Report to Weights & Biases.")
