"""Packaged weights: read, write and verify a checkpoint with its model card."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from rcn_search import storage
from rcn_search.config.errors import summarize
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.model_card import MAX_BYTES, ModelCard, render_card
from rcn_search.inference.weights import packaged_path
from rcn_search.training.checkpoint import read_checkpoint

_CARD, _TEXT = ".json", ".md"


def read_card(name: str) -> ModelCard:
    """Read the card of packaged weights.

    Raises:
        RcnSearchError: There are no weights of this name, or their card is missing or damaged.
    """
    path = packaged_path(name).with_suffix(_CARD)
    try:
        return ModelCard.model_validate(storage.read_json(str(path)))
    except FileNotFoundError:
        raise RcnSearchError(f"the model card {path} is missing") from None
    except ValidationError as error:
        raise RcnSearchError(f"the model card {path} is damaged: {summarize(error)}") from None


def check_size(num_bytes: int, name: str) -> None:
    """Raise `RcnSearchError` if a checkpoint is too large to be packaged."""
    if num_bytes > MAX_BYTES:
        raise RcnSearchError(
            f"the weights of {name} have {num_bytes / 1e6:.1f} MB; packaged weights have at most {MAX_BYTES / 1e6:g} MB"
        )


def write_weights(folder: Path, card: ModelCard, content: bytes) -> list[Path]:
    """Write weights, card and its text into a folder; the weights last, so that whoever sees them has the card.

    Raises:
        RcnSearchError: The content is too large, or not that of the card.
    """
    check_size(len(content), card.name)
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise RcnSearchError(f"the card of {card.name} is that of other weights")
    weights = folder / f"{card.name}.safetensors"
    contents = {
        weights.with_suffix(_CARD): storage.encode_json(card.model_dump(mode="json")),
        weights.with_suffix(_TEXT): render_card(card).encode(),
        weights: content,
    }
    for path, data in contents.items():
        storage.write_bytes(str(path), data)
    return list(contents)


def verify_weights(name: str) -> list[str]:
    """Check packaged weights: what is wrong, a line each; nothing if they are as they were packaged.

    The weights must be those of the card by their hash, readable, finite, calibrated and small enough, and the text
    must be rendered from the card.
    """
    problems = []
    path = packaged_path(name)
    try:
        card = read_card(name)
    except RcnSearchError as error:
        return [str(error)]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != card.sha256:
        problems.append(f"{path} is not the file of its model card: its SHA-256 is another one")
    try:
        check_size(len(content), name)
        info = read_checkpoint(str(path)).info
    except RcnSearchError as error:
        return [*problems, str(error)]
    if not info.radius_tables:
        problems.append(f"{path} is not calibrated, so its points would have no radius")
    if info.keypoints != card.keypoints or info.data_fingerprint != card.data.fingerprint:
        problems.append(f"{path} was trained on other points or data than its model card says")
    text = path.with_suffix(_TEXT)
    if not text.is_file() or text.read_text(encoding="utf-8") != render_card(card):
        problems.append(f"{text} is not the text of its model card")
    return problems
