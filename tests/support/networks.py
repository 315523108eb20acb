"""Modules with networks of a user, importable in this process and in those that it starts."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from rcn_search.config.network_target import ALLOW_VARIABLE
from rcn_search.config.schema import CustomConfig

WriteModule = Callable[[str], str]
"""Writes a module with the given source; returns its name."""

_numbers = count()

TINY = """
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self, num_points, input_px, in_channels, width=6, stride=4):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(in_channels, width, 3, stride=stride, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Dropout(0.1), nn.Conv2d(width, num_points, 3, padding=1)
            )

        def forward(self, image):
            return self.body(image)

    class Points(Tiny):
        def forward(self, image):
            return torch.sigmoid(self.body(image).mean((2, 3))[..., None].repeat(1, 1, 2))
"""
"""Two networks: one of logits at a quarter of the resolution, and one of points."""


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """Write modules on PYTHONPATH; what is allowed to be imported is forgotten after the test."""
    folder = tmp_path / "user_code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")])))
    monkeypatch.setenv(ALLOW_VARIABLE, "")

    def write(source: str) -> str:
        name = f"nets_of_a_user_{next(_numbers)}"
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    return write


def custom(target: str, **args: object) -> CustomConfig:
    """Configuration of a custom network."""
    return CustomConfig.model_validate({"name": "custom", "target": target, "args": args})
