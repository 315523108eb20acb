"""timm where torchvision was built for another PyTorch than this one, as on machines without CUDA.

The torchvision of PyPI is built for CUDA. Beside a PyTorch without it, its compiled operators cannot be loaded, and
torchvision cannot be imported: "operator torchvision::nms does not exist". No backbone uses an operator of torchvision.
"""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

_kept: list[torch.library.Library] = []  # operators exist as long as the library that defines them


@pytest.fixture(scope="session")
def timm() -> None:
    """Import timm, with the names of two operators where torchvision cannot be imported without them."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    try:
        importlib.import_module("timm")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
            del sys.modules[name]
        importlib.import_module("timm")
