"""Task-wise early stopping of TCDCN (Zhang et al., ECCV 2014, sec. 3.2): drop attributes that no longer help.

An attribute a is dropped after epoch t, permanently, if

    k med E_tr / (sum E_tr - k med E_tr)  *  (E_val(t) - min E_tr) / (lambda_a min E_tr)  >  threshold

Here E_tr are its mean cross-entropies on the training images (median and sum over the last k epochs, minimum over all
epochs), E_val(t) is that on the validation images, and lambda_a its weight. The first factor is large if the training
error has stopped falling, the second one if the validation error is much higher than the training error. The exact form
is not verified against the paper (docs/explanation/model-specification.md, "Networks").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

import torch
from pydantic import Field
from torch import Tensor

from rcn_search.config.schema import FrozenModel, ModelConfig
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.training.distributed import SINGLE_PROCESS, DistributedContext
from rcn_search.training.loss import FULL_SHARE, LossShare, attribute_losses

WINDOW_EPOCHS = 5  # number k of epochs over which the criterion takes the median


class StoppingState(FrozenModel):
    """State of the criterion in the checkpoint of a run."""

    sums: dict[str, float] = Field({})  # cross-entropies summed over the steps since the last validation, by attribute
    num_steps: int = 0  # number of these steps
    errors: dict[str, tuple[float, ...]] = Field({})  # mean training cross-entropies of the validated epochs
    dropped: dict[str, int] = Field({})  # dropped attributes, with the last epoch that learned them


class TaskStopping:
    """Drops attributes of a run that no longer help."""

    def __init__(self, model: ModelConfig, distributed: DistributedContext = SINGLE_PROCESS) -> None:
        self._distributed = distributed
        self.threshold = model.task_stop_threshold if model.name == "tcdcn" else None
        self.weight = model.auxiliary_weight if model.name == "tcdcn" else 0.0
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0
        self._errors: dict[str, tuple[float, ...]] = {}
        self.dropped: dict[str, int] = {}  # with the last epoch that learned them

    def active_attributes(self, attributes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Select the attributes that are still learned."""
        return {name: classes for name, classes in attributes.items() if name not in self.dropped}

    @torch.no_grad()
    def record_step(
        self, output: Tensor | TcdcnOutput, attributes: Mapping[str, Tensor], share: LossShare = FULL_SHARE
    ) -> None:
        """Record the training cross-entropies of a step, summed over all workers."""
        if self.threshold is None or isinstance(output, Tensor):
            return
        for name, loss in attribute_losses(output, attributes).items():
            cross_entropy = self._distributed.all_reduce_sum(share.images * loss)
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(cross_entropy)
            self._sums[name] += cross_entropy  # in place, so that a captured step adds to it, too

    def count_step(self) -> None:
        """Count a step that `record_step` recorded, which a captured step does on the device alone."""
        self._num_steps += self.threshold is not None

    def end_epoch(self, epoch: int, validation: Mapping[str, float]) -> None:
        """Drop attributes after a validated epoch (from 1), given the mean validation cross-entropy of each."""
        for name, total in self._recorded().items():
            self._errors[name] = (*self._errors.get(name, ()), float(total) / self._num_steps)
            if stopping_criterion(self._errors[name], validation[name], self.weight) > (self.threshold or math.inf):
                self.dropped[name] = epoch
        for total in self._sums.values():
            total.zero_()
        self._num_steps = 0

    def _recorded(self) -> dict[str, Tensor]:
        """Sums since the last validation, of attributes that are still learned."""
        return {name: total for name, total in self._sums.items() if self._num_steps and name not in self.dropped}

    def state(self) -> StoppingState:
        """Return the state for a checkpoint."""
        sums = {name: float(total) for name, total in self._recorded().items()}
        return StoppingState(sums=sums, num_steps=self._num_steps, errors=self._errors, dropped=self.dropped)

    def load_state(self, state: StoppingState, device: str) -> None:
        """Restore the state of a checkpoint."""
        self._sums = {name: torch.tensor(total, device=device) for name, total in state.sums.items()}
        self._num_steps, self._errors, self.dropped = state.num_steps, dict(state.errors), dict(state.dropped)


def stopping_criterion(train_errors: tuple[float, ...], val_error: float, weight: float) -> float:
    """Compute the left side of the inequality above, given the training errors of all validated epochs.

    It is minus infinity before k epochs, and if the validation error is not higher than the lowest training error; it
    is infinity if the training error has not fallen.
    """
    lowest = min(train_errors)
    if len(train_errors) < WINDOW_EPOCHS or val_error <= lowest:
        return float("-inf")
    recent = train_errors[-WINDOW_EPOCHS:]
    scaled_median = WINDOW_EPOCHS * median(recent)
    decrease = sum(recent) - scaled_median
    if decrease <= 0 or lowest * weight == 0:
        return float("inf")
    return scaled_median / decrease * (val_error - lowest) / (weight * lowest)
