"""Find the checkpoint or exported model that a user means: by name, path of a run, path or URI."""

from __future__ import annotations

from rcn_search import storage
from rcn_search.resources import resource_path
from rcn_search.training.checkpoint import CheckpointError

WEIGHTS = "weights"
"""Folder of the packaged checkpoints, ``NAME.safetensors``."""
BEST = "best.safetensors"
EXPORTED_SUFFIXES = (".onnx", ".xml")
"""Of the files that ``rcn-search export`` writes."""


def packaged_names() -> list[str]:
    """List the models that come with rcn-search."""
    return sorted(path.stem for path in resource_path(WEIGHTS).glob("*.safetensors"))


def find_weights(model: str) -> str:
    """Find the path or URI of a model.

    Args:
        model: Name of a packaged model, folder of a run, or path or URI of a checkpoint or exported file.

    Raises:
        CheckpointError: It is no name of a packaged model, and there is no such file or folder.
    """
    if model in packaged_names():
        return str(resource_path(WEIGHTS) / f"{model}.safetensors")
    if not storage.is_local(model):
        return model
    path = storage.local_path(model)
    if path.is_dir():
        return str(path / BEST)
    if not path.exists():
        names = ", ".join(packaged_names()) or "none"
        raise CheckpointError(f"no checkpoint at {model}; the models that come with rcn-search: {names}")
    return model
