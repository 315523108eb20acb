"""The section ``callbacks`` of a study file: which other tools are told of a search.

    callbacks:
      tensorboard: false                        # it is on where nothing is said
      mlflow: {experiment: rcn}                 # where: MLFLOW_TRACKING_URI, and its token or password
      wandb:  {project: rcn, group: first}      # who: WANDB_API_KEY, or `wandb login`

Keys and passwords are read from the environment by those tools and never stand in a study file, which is published
with the study.
"""

from __future__ import annotations

from pydantic import Field

from rcn_search.config.schema import FrozenModel


class Mlflow(FrozenModel):
    """MLflow, through Ray's own callback: a run for each trial."""

    experiment: str | None = Field(None, description="Its name; that of the study by default.")
    tags: dict[str, str] = Field({}, description="Of all runs.")


class Wandb(FrozenModel):
    """Weights & Biases, through Ray's own callback: a run for each trial."""

    project: str = Field(min_length=1)
    entity: str | None = Field(None, description="A team; your own account by default.")
    group: str | None = Field(None, description="Of the runs; the name of the study by default.")
    mode: str | None = Field(None, pattern="^(online|offline|disabled)$", description="Else WANDB_MODE.")


class CallbackOptions(FrozenModel):
    """The section ``callbacks`` of a study file."""

    tensorboard: bool = True
    mlflow: Mlflow | None = None
    wandb: Wandb | None = None
