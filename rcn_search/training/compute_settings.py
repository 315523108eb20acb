"""Compute options of a run, as they were chosen."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from rcn_search.models.blocks import RecombinationForm


class ComputeSettings(BaseModel):
    """Compute options of a run, without any ``auto``."""

    model_config = ConfigDict(frozen=True)
    device: str
    precision: str
    channels_last: bool
    threads: int
    step: str = "eager"
    recombination: tuple[RecombinationForm, ...] = ()
    """Forms of an RCN's recombinations, coarsest first; empty if all are ``transposed``, and for other networks."""

    def autocast(self) -> torch.autocast:
        """Create the autocast context for a forward pass in training."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")

    def to_memory_format(self, inputs: Tensor) -> Tensor:
        """Convert network inputs to the memory layout of the network."""
        return inputs.contiguous(memory_format=self.memory_format) if inputs.dim() == 4 else inputs

    @property
    def layout(self) -> tuple[str, bool]:
        """Precision, and whether channels come last: what candidates with other numbers of threads share."""
        return self.precision, self.channels_last

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory layout of weights and maps."""
        return torch.channels_last if self.channels_last else torch.contiguous_format
