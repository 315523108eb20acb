"""Find the checkpoint or exported model that a user means: by name, path of a run, path or URI."""

from __future__ import annotations

from pathlib import Path

from rcn_search import storage
from rcn_search.resources import weights_folder
from rcn_search.training.checkpoint import CheckpointError

BEST = "best.safetensors"
EXPORTED_SUFFIXES = (".onnx", ".xml")
"""Of the files that ``rcn-search export`` writes."""


def packaged_names() -> list[str]:
    """List the models that come with rcn-search."""
    return sorted(path.stem for path in weights_folder().glob("*.safetensors"))


def packaged_path(name: str) -> Path:
    """Return the path of packaged weights.

    Raises:
        CheckpointError: There is none of this name.
    """
    if name not in packaged_names():
        raise CheckpointError(f"no packaged weights {name!r}; {_known_names()}")
    return weights_folder() / f"{name}.safetensors"


def find_weights(model: str) -> str:
    """Find the path or URI of a model.

    Args:
        model: Name of packaged weights, folder of a run, or path or URI of a checkpoint or exported file.

    Raises:
        CheckpointError: It is no name of packaged weights, and there is no such file or folder.
    """
    if model in packaged_names():
        return str(packaged_path(model))
    if not storage.is_local(model):
        return model
    path = storage.local_path(model)
    if path.is_dir():
        return str(path / BEST)
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {model}; {_known_names()}")
    return model


def _known_names() -> str:
    return f"the models that come with rcn-search: {', '.join(packaged_names()) or 'none'}"
