"""Header of a safetensors file, read and bounded before any tensor is.

A file is eight bytes of header size, a JSON header with the type, shape and place of each tensor, and their bytes
(https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, ValidationError

from rcn_search import storage
from rcn_search.config.errors import summarize
from rcn_search.config.frozen_model import FrozenModel
from rcn_search.errors import RcnSearchError

MAX_HEADER_BYTES = 32 * 2**20
"""The header of a run holds its history, of about 250 bytes an epoch."""
_FIRST_BYTES = 2**18
"""Enough for the header of most checkpoints, so that it takes one request."""
_TORCH_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorSpec(NamedTuple):
    """Type and shape of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class Header(NamedTuple):
    """What the header says: texts, tensors by name, and the bytes of the whole file."""

    metadata: dict[str, str]
    tensors: dict[str, TensorSpec]
    num_bytes: int


class _Tensor(FrozenModel):
    dtype: str
    shape: tuple[Annotated[int, Field(ge=0, lt=2**40)], ...] = Field(max_length=8)
    data_offsets: tuple[Annotated[int, Field(ge=0, lt=2**50)], Annotated[int, Field(ge=0, lt=2**50)]]


def read_header(uri: str) -> Header:
    """Read the header of a safetensors file.

    Raises:
        FileNotFoundError: There is no such file.
        RcnSearchError: It is not a safetensors file, or beyond the bounds.
    """
    content = storage.read_range(uri, 0, _FIRST_BYTES)
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > MAX_HEADER_BYTES:
        raise RcnSearchError(f"its header has {size:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
    if len(content) < 8 + size:
        content = storage.read_range(uri, 0, 8 + size)
    if len(content) < 8 + size:
        raise RcnSearchError("it ends within its header")
    document = storage.decode_json(uri, content[8 : 8 + size])
    if not isinstance(document, dict):
        raise RcnSearchError("its header is no mapping")
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise RcnSearchError("__metadata__ in its header is no mapping of texts")
    tensors = {name: _read_tensor(name, spec) for name, spec in document.items()}
    end = max((offsets[1] for _, offsets in tensors.values()), default=0)
    return Header(metadata, {name: spec for name, (spec, _) in tensors.items()}, 8 + size + end)


def _read_tensor(name: str, document: object) -> tuple[TensorSpec, tuple[int, int]]:
    try:
        tensor = _Tensor.model_validate(document)
    except ValidationError as error:
        raise RcnSearchError(f"tensor {name[:80]!r}: {summarize(error)}") from None
    if tensor.dtype not in _TORCH_TYPES:
        raise RcnSearchError(f"tensor {name[:80]!r} is of type {tensor.dtype[:20]}, which no checkpoint has")
    dtype = _TORCH_TYPES[tensor.dtype]
    start, end = tensor.data_offsets
    if end - start != math.prod(tensor.shape) * dtype.itemsize:
        raise RcnSearchError(f"tensor {name[:80]!r} of shape {tensor.shape} lies at bytes {start:,} to {end:,}")
    return TensorSpec(dtype, tensor.shape), tensor.data_offsets
