"""Run a training step in memory that stays where it is: on a GPU as a CUDA graph, on the CPU as it is.

A graph is the list of kernels that a step has launched once. Replaying it costs one launch instead of some thousand,
but reads and writes the same memory each time. So the rows and draws of a step are copied to where the graph reads
them; learning rate and weight of the moving average are on the device already (`build_optimizers`).

A step with another number of images, the last one of an epoch, has a graph of its own.

Shape letters: b images, d draws of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from rcn_search.errors import RcnSearchError

NUM_WARM_UP_STEPS = 3
"""Steps before the capture, which create what libraries and optimizers create only once. They train like all others."""

Step = Callable[[Tensor, Tensor], Tensor]
"""Function from rows (b,) and draws (b, d) to the loss, all on the device."""


@dataclass(eq=False)
class _FixedStep:
    """A step for one number of images."""

    rows_b: Tensor
    draws_bd: Tensor
    num_runs: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    loss: Tensor | None = None


class StaticStep:
    """Captures a training step, and replays it."""

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step, self._steps = step, dict[Hashable, _FixedStep]()
        self._is_captured = device.type == "cuda"
        if self._is_captured:
            self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def __call__(self, rows_b: Tensor, draws_bd: Tensor, variant: Hashable = None) -> Tensor:
        """Take a step and return its loss, which the next step overwrites.

        ``variant`` names what else decides which operations a step has, such as the attributes that are learned.

        Raises:
            RcnSearchError: The step cannot be captured.
        """
        key = (len(rows_b), variant)
        if key not in self._steps:
            self._steps[key] = _FixedStep(torch.empty_like(rows_b), torch.empty_like(draws_bd))
        fixed = self._steps[key]
        fixed.rows_b.copy_(rows_b)
        fixed.draws_bd.copy_(draws_bd)
        if not self._is_captured:
            return self._step(fixed.rows_b, fixed.draws_bd)
        if fixed.num_runs < NUM_WARM_UP_STEPS:
            fixed.num_runs += 1
            return self._run_beside(fixed)
        if fixed.graph is None:
            self._capture(fixed)
        assert fixed.graph is not None
        assert fixed.loss is not None
        fixed.graph.replay()
        return fixed.loss

    def _run_beside(self, fixed: _FixedStep) -> Tensor:
        """Take the step on the stream of the capture: gradients remember on which one they were first accumulated."""
        usual = torch.cuda.current_stream()
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            loss = self._step(fixed.rows_b, fixed.draws_bd)
        usual.wait_stream(self._stream)
        return loss

    def _capture(self, fixed: _FixedStep) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                fixed.loss = self._step(fixed.rows_b, fixed.draws_bd)
        except RuntimeError as error:
            raise RcnSearchError(
                f"a training step cannot be captured as a CUDA graph here: {error}; set compute.step=eager"
            ) from error
        fixed.graph = graph
