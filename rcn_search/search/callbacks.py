"""What other tools are told of a search: TensorBoard always, MLflow and Weights & Biases where the study file says so.

None of them is the state of anything: what they lack, the ledger has.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from typing import Any

from ray.tune import Callback

from rcn_search.search.tensorboard import TensorBoard
from rcn_search.study.space.callback_options import CallbackOptions
from rcn_search.study.study import Study


def build_callbacks(options: CallbackOptions, study: Study) -> list[Callback]:
    """The callbacks that a study's search is run with, after those that keep its ledger.

    Raises:
        ValueError: One is asked for and not installed.
    """
    callbacks: list[Callback] = [TensorBoard(study)] if options.tensorboard else []
    if options.mlflow:
        _require("mlflow", "MLflow")
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        experiment = options.mlflow.experiment or study.config.study.name
        tags = {**options.mlflow.tags, "study": study.uri}
        callbacks.append(TrialCallbackAdapter(MLflowLoggerCallback(experiment_name=experiment, tags=tags), study))
    if options.wandb:
        _require("wandb", "Weights & Biases")
        from ray.air.integrations.wandb import WandbLoggerCallback

        chosen = options.wandb.model_dump(exclude={"project", "group"}, exclude_none=True)
        group = options.wandb.group or study.config.study.name
        wandb = WandbLoggerCallback(project=options.wandb.project, group=group, **chosen)
        callbacks.append(TrialCallbackAdapter(wandb, study))
    return callbacks


def _require(package: str, name: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"callbacks.{package}: {name} is not installed: pip install 'rcn-search[{package}]'")


class TrialCallbackAdapter(Callback):  # type: ignore[misc]
    """Shows a callback what was drawn and the numbers of the last epoch, instead of what Ray's trials carry.

    Those carry whole training configurations as JSON. A tool that cannot be reached ends no search: it is warned of
    once, and left alone from then on.
    """

    def __init__(self, callback: Callback, study: Study) -> None:
        self._callback, self._study = callback, study
        self._shown: dict[str, _TrialView] = {}

    def setup(self, *args: Any, **info: Any) -> None:
        """Connect; what is wrong with that ends the search before it starts."""
        self._callback.setup(*args, **info)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial starts, or starts again."""
        self._tell(self._callback.on_trial_start, trial, **info)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch is over."""
        if result.get("epochs"):
            last = result["epochs"][-1]
            numbers = {key: value for key, value in last.items() if key != "epoch" and math.isfinite(value)}
            self._tell(self._callback.on_trial_result, trial, result={**numbers, "training_iteration": last["epoch"]})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended by itself or was stopped."""
        self._tell(self._callback.on_trial_complete, trial, **info)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed."""
        self._tell(self._callback.on_trial_error, trial, **info)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Wait until all is sent."""
        self._callback.on_experiment_end(trials=[], **info)

    def _tell(self, event: Callable[..., None], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        shown = self._shown.setdefault(trial.trial_id, _TrialView(trial, self._study.trials[number].suggestion.params))
        try:
            event(iteration=0, trials=[], trial=shown, **info)
        except Exception as error:
            name = type(self._callback).__name__
            warnings.warn(f"{name} is left alone from now on: {type(error).__name__}: {error}", stacklevel=2)
            self._callback = Callback()


class _TrialView:
    """One of Ray's trials, with the parameters as its configuration."""

    def __init__(self, trial: Any, params: dict[str, Any]) -> None:
        self._trial = trial
        # By path: MLflow takes no "model.channels[1]", and of alternatives only one is drawn.
        self.config = self.evaluated_params = {name.partition("[")[0]: value for name, value in params.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def __str__(self) -> str:
        return str(self._trial)
