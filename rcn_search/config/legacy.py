"""Bring documents of earlier schema versions up to today's keys: checkpoints, leaderboard entries, prediction files.

Old documents must stay readable for ever, so nothing may be removed from the tables here. A document that is already
in today's form passes through unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rcn_search.storage import without_user_info

Document = dict[str, Any]

# Section -> old key -> key today.
_RENAMED_KEYS: dict[str, dict[str, str]] = {
    "data": {"balance": "balance_by"},
    "input": {"colour": "color", "lcn": "contrast_normalization"},
    "model": {
        "kind": "name",
        "layers": "layer_preset",
        "weights": "fusion_weights",
        "corrupted": "num_corrupted_points",
        "stop_tasks_at": "task_stop_threshold",
    },
    "loss": {"head": "name", "outside": "points_outside"},
    "optimizer": {"l2_trunk": "l2_encoder", "l2_branch": "l2_branches"},
    "schedule": {"shape": "lr_schedule", "warmup": "warmup_fraction"},
    "validation": {"jitter": "augment", "every": "every_epochs", "keep": "save"},
}
_RENAMED_LOSSES = {"softmax": "nll"}
_RENAMED_NORMALIZERS = {"eye_centres": "eye_centers"}
_RENAMED_DECODERS = {"peak": "argmax", "mean": "soft-argmax"}
_RENAMED_EXCLUSIONS = {
    "non-finite normaliser": "non-finite normalizer",
    "normaliser under 1 px": "normalizer under 1 px",
}


def upgrade_config(document: Document) -> Document:
    """Rename the keys and values of a training configuration of schema version 1 or 2; ``document`` is not changed.

    Credentials in its URIs, which were accepted then, are removed. Keys that are unknown in both forms stay, so that
    validation names them; so does what is no mapping.
    """
    if not isinstance(document, dict):
        return document
    upgraded = {
        section: _rename_keys(options, _RENAMED_KEYS.get(section, {})) if isinstance(options, dict) else options
        for section, options in without_user_info(document).items()
    }
    loss = upgraded.get("loss")
    if isinstance(loss, dict) and "name" in loss:
        upgraded["loss"] = loss | {"name": _renamed(loss["name"], _RENAMED_LOSSES)}
    return upgraded


def upgrade_entry(document: Document) -> Document:
    """Bring a leaderboard entry of schema version 1 or 2 to version 3; ``document`` is not changed."""
    upgraded = _rename_keys(document, {"test_looks": "num_test_evaluations"}) | {"schema_version": 3}
    for field, upgrade in _ENTRY_FIELDS.items():
        if isinstance(document.get(field), dict):
            upgraded[field] = upgrade(document[field])
    return upgraded


def upgrade_protocol(document: Document) -> Document:
    """Rename the keys and values of an evaluation protocol of entry schema 1 or 2; ``document`` is not changed."""
    upgraded = _rename_keys(document, {"normaliser": "normalizer"})
    if "normalizer" in upgraded:
        upgraded["normalizer"] = _renamed(upgraded["normalizer"], _RENAMED_NORMALIZERS)
    return upgraded


def upgrade_inference(document: Document) -> Document:
    """Rename how predictions were made, in ``made_with`` of entries and in prediction files; other keys are kept.

    >>> upgrade_inference({"decode": "peak", "views": 9, "mirror": True, "denoiser": "0123abcd"})
    {'denoiser': '0123abcd', 'decoder': 'argmax', 'tta': 'flip+multiview'}
    """
    upgraded = {key: value for key, value in document.items() if key not in ("decode", "views", "mirror")}
    if "decode" in document:
        upgraded["decoder"] = _renamed(document["decode"], _RENAMED_DECODERS)
    if "views" in document or "mirror" in document:
        names = {"flip": bool(document.get("mirror")), "multiview": document.get("views", 1) != 1}
        upgraded["tta"] = "+".join(name for name, is_used in names.items() if is_used) or "none"
    return upgraded


def _rename_keys(document: Document, names: dict[str, str]) -> Document:
    return {names.get(key, key): value for key, value in document.items()}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    return names.get(value, value) if isinstance(value, str) else value


_ENTRY_FIELDS: dict[str, Callable[[Document], Document]] = {
    "config": upgrade_config,
    "protocol": upgrade_protocol,
    "made_with": upgrade_inference,
    "excluded": partial(_rename_keys, names=_RENAMED_EXCLUSIONS),
}
