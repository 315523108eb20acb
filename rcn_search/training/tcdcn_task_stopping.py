"""Task-wise early stopping of TCDCN (Zhang et al., ECCV 2014, section 3.2): an attribute that helps no more is dropped.

After an epoch t an attribute a is dropped, for good, when

    k med E_tr / (sum E_tr - k med E_tr)  *  (E_val(t) - min E_tr) / (lambda_a min E_tr)  >  threshold

where E_tr are its mean cross-entropies on the training images, the median and the sum over the last k epochs and the
minimum over all, E_val(t) is that on the validation images, and lambda_a its weight. The first factor is large when the
training error has stopped falling, the second when the validation error has stayed behind. The form is from memory of
the paper (rcn.md 10.3).
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

WINDOW_EPOCHS = 5
"""k."""


class StoppingState(FrozenModel):
    """What a resumed run needs.

    Attributes:
        sums: Cross-entropies summed over the steps since the last validation.
        num_steps: Since then.
        errors: Mean training cross-entropies by validated epoch.
        dropped: Attributes and the last epoch that learned them.
    """

    sums: dict[str, float] = Field({})
    num_steps: int = 0
    errors: dict[str, tuple[float, ...]] = Field({})
    dropped: dict[str, int] = Field({})


class TaskStopping:
    """Watches the attributes of a run; does nothing for a model that was not asked to stop them.

    Attributes:
        threshold: See `TcdcnConfig.task_stop_threshold`; None: nothing is ever dropped.
        dropped: Attributes and the last epoch that learned them.
    """

    def __init__(self, model: ModelConfig, workers: DistributedContext = SINGLE_PROCESS) -> None:
        self._workers = workers
        self.threshold = model.task_stop_threshold if model.name == "tcdcn" else None
        self.weight = model.auxiliary_weight if model.name == "tcdcn" else 0.0
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0
        self._errors: dict[str, tuple[float, ...]] = {}
        self.dropped: dict[str, int] = {}

    def active_attributes(self, attributes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those that are still learned."""
        return {name: classes for name, classes in attributes.items() if name not in self.dropped}

    @torch.no_grad()
    def record_step(self, output: Tensor | TcdcnOutput, attributes: Mapping[str, Tensor], share: LossShare = FULL_SHARE) -> None:
        """Take in the training error of a step, of all workers."""
        if self.threshold is None or isinstance(output, Tensor):
            return
        for name, own in attribute_losses(output, attributes).items():
            cross_entropy = self._workers.all_reduce_sum(share.images * own)
            self._sums[name] = self._sums.get(name, torch.zeros_like(cross_entropy)) + cross_entropy
        self._num_steps += 1

    def end_epoch(self, epoch: int, validation: Mapping[str, float]) -> None:
        """Drop what has to be, by the cross-entropies on the validation images, after every validated epoch."""
        for name, total in self._sums.items():
            self._errors[name] = (*self._errors.get(name, ()), float(total) / self._num_steps)
            if stopping_criterion(self._errors[name], validation[name], self.weight) > (self.threshold or math.inf):
                self.dropped[name] = epoch
        self._sums, self._num_steps = {}, 0

    def state(self) -> StoppingState:
        """For the checkpoint."""
        sums = {name: float(total) for name, total in self._sums.items()}
        return StoppingState(sums=sums, num_steps=self._num_steps, errors=self._errors, dropped=self.dropped)

    def load_state(self, state: StoppingState, device: str) -> None:
        """Take up what `state` gave."""
        self._sums = {name: torch.tensor(total, device=device) for name, total in state.sums.items()}
        self._num_steps, self._errors, self.dropped = state.num_steps, dict(state.errors), dict(state.dropped)


def stopping_criterion(train_errors: tuple[float, ...], val_error: float, weight: float) -> float:
    """The left side of the rule above.

    Minus infinity before there are k epochs, and where the validation error is no higher than the lowest training
    error; infinity where the training error has not fallen at all.
    """
    lowest = min(train_errors)
    if len(train_errors) < WINDOW_EPOCHS or val_error <= lowest:
        return float("-inf")
    recent = train_errors[-WINDOW_EPOCHS:]
    flat = WINDOW_EPOCHS * median(recent)
    fallen = sum(recent) - flat
    if fallen <= 0 or lowest * weight == 0:
        return float("inf")
    return flat / fallen * (val_error - lowest) / (weight * lowest)
