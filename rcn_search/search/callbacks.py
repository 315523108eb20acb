"""Callbacks that show a search in other tools: TensorBoard by default, MLflow and Weights & Biases by the study file.

None of them holds state: whatever they miss is in the study store.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ray.tune import Callback

from rcn_search.search.tensorboard import TensorBoard
from rcn_search.study.space.sections import CallbackOptions
from rcn_search.study.study import Study


def build_callbacks(options: CallbackOptions, study: Study) -> list[Callback]:
    """Build the callbacks that the study file asks for; `open_or_resume` has checked that their packages are there."""
    callbacks: list[Callback] = [TensorBoard(study)] if options.tensorboard else []
    if options.mlflow:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        experiment = options.mlflow.experiment or study.config.study.name
        tags = {**options.mlflow.tags, "study": study.uri}
        callbacks.append(TrialCallbackAdapter(MLflowLoggerCallback(experiment_name=experiment, tags=tags), study))
    if options.wandb:
        from ray.air.integrations.wandb import WandbLoggerCallback

        chosen = options.wandb.model_dump(exclude={"project", "group"}, exclude_none=True)
        group = options.wandb.group or study.config.study.name
        wandb = WandbLoggerCallback(project=options.wandb.project, group=group, **chosen)
        callbacks.append(TrialCallbackAdapter(wandb, study))
    return callbacks


class TrialCallbackAdapter(Callback):  # type: ignore[misc]
    """Gives a callback the parameters of a trial and the numbers of its last epoch.

    The configurations of Tune's own trials hold a whole training configuration. A tool that cannot be reached does not
    end the search: there is one warning, and the tool gets nothing from then on.
    """

    def __init__(self, callback: Callback, study: Study) -> None:
        self._callback, self._study = callback, study
        self._views: dict[str, _TrialView] = {}

    def setup(self, *args: Any, **info: Any) -> None:
        """Connect the tool; an error ends the search before it starts."""
        self._callback.setup(*args, **info)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass on that a trial starts, or starts again."""
        self._notify(self._callback.on_trial_start, trial, **info)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Pass on the last epoch of a result."""
        if result.get("epochs"):
            last = result["epochs"][-1]
            numbers = {key: value for key, value in last.items() if key != "epoch" and math.isfinite(value)}
            self._notify(self._callback.on_trial_result, trial, result={**numbers, "training_iteration": last["epoch"]})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass on that a trial ended by itself or was pruned."""
        self._notify(self._callback.on_trial_complete, trial, **info)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass on that a trial failed."""
        self._notify(self._callback.on_trial_error, trial, **info)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Wait until everything is sent."""
        self._callback.on_experiment_end(trials=[], **info)

    def _notify(self, event: Callable[..., None], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        view = self._views.setdefault(trial.trial_id, _TrialView(trial, self._study.trials[number].params))
        try:
            event(iteration=0, trials=[], trial=view, **info)
        except Exception as error:
            name = type(self._callback).__name__
            warnings.warn(f"{name} gets no more events: {type(error).__name__}: {error}", stacklevel=2)
            self._callback = Callback()


class _TrialView:
    """A trial of Ray Tune whose configuration is the parameters of the study's trial."""

    def __init__(self, trial: Any, params: dict[str, Any]) -> None:
        self._trial = trial
        # By path: MLflow refuses "model.channels[1]", and only one range of a path is drawn.
        self.config = self.evaluated_params = {name.partition("[")[0]: value for name, value in params.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def __str__(self) -> str:
        return str(self._trial)
