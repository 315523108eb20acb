"""Write a `CropNetwork` as one ONNX graph.

crops       uint8 (batch, s, s) or (batch, s, s, 3)
face_boxes  float32 (batch, 4), x, y, width, height in crop pixels of what the network sees
points      float32 (batch, k, 2), x, y in crop pixels
confidence  float32 (batch, k)
cells       int64 (batch, k, 2), column and row of the network's grid
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rcn_search.errors import RcnSearchError
from rcn_search.inference.crop_network import CropNetwork
from rcn_search.inference.export.exported_info import METADATA_KEY, ExportedInfo
from rcn_search.inference.export.runtimes import INSTALL

INPUTS = ("crops", "face_boxes")
OUTPUTS = ("points", "confidence", "cells")
_OPSET = 20  # the first one with the affine grid that the input window needs
_TRACED_BATCH = 3  # not 1, which the tracer would take for a constant


class _Graph(nn.Module):
    """A `CropNetwork` whose outputs are in the order of `OUTPUTS`."""

    def __init__(self, crop_network: CropNetwork):
        super().__init__()
        self.crop_network = crop_network

    def forward(self, crops: Tensor, face_boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict points, confidence and cells."""
        predicted = self.crop_network(crops, face_boxes)
        return predicted.points_bk2, predicted.confidence_bk, predicted.cells_bk2


def trace_onnx(crop_network: CropNetwork, *, crop_px: int, color: bool) -> Any:
    """Trace a network on the CPU; return the ``onnx.ModelProto``.

    Raises:
        RcnSearchError: The packages are not installed, or the network cannot be traced.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RcnSearchError(f"export needs a package that is missing ({error}): {INSTALL}") from None
    shape = (_TRACED_BATCH, crop_px, crop_px, 3) if color else (_TRACED_BATCH, crop_px, crop_px)
    crops = torch.zeros(shape, dtype=torch.uint8)
    face_boxes = torch.tensor([[0.0, 0.0, crop_px, crop_px]]).repeat(_TRACED_BATCH, 1)
    graph = _Graph(crop_network).eval()
    batch = torch.export.Dim("batch")
    with torch.no_grad(), _quiet():
        graph(crops, face_boxes)  # tables that are made once and kept must not be made while tracing
        try:
            program = torch.onnx.export(
                graph,
                (crops, face_boxes),
                dynamo=True,
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_shapes={name: {0: batch} for name in INPUTS},
                opset_version=_OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise RcnSearchError(f"PyTorch cannot export this network: {reason}") from error
    assert program is not None
    return program.model_proto


def onnx_bytes(proto: Any, info: ExportedInfo) -> bytes:
    """Write a traced network with its metadata."""
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, info.model_dump_json()
    content: bytes = proto.SerializeToString()
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to developers of PyTorch from users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
