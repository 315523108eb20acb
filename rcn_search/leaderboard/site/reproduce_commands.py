"""Configuration and commands to reproduce an entry, without paths of the machine that it comes from."""

from __future__ import annotations

import json
import re
import shlex
from functools import lru_cache
from typing import Any

from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.site.urls import config_file
from rcn_search.yaml_document import dump_yaml

DATA = "DATA"
DENOISER = "DENOISER"
"""Placeholders for the reader's copy of the data set, and for the checkpoint of the denoiser."""
_PATH = "PATH"
_LOCAL_PATH = re.compile(r"(?:/|~|file:|[A-Za-z]:[\\/]|\\\\)", re.IGNORECASE)


def config_yaml(entry: Entry) -> str:
    """Format the configuration for `rcn-search train`; empty if the entry has none."""
    return _yaml(json.dumps(_public(entry.config))) if entry.config else ""


def command_lines(entry: Entry, entry_id: str) -> list[tuple[str, str]]:
    """List commands that reproduce an entry, each after a description."""
    config = config_file(entry)
    if config is None:
        return [("Score its predictions again", _command("leaderboard", "rescore", entry_id))]
    data_uri = _data_uri(_public(entry.config))
    overrides = () if data_uri else ("--set", f"data.uri={DATA}")
    checkpoint = f"runs/{entry.run_id}/best.safetensors"
    denoiser = ("--denoiser", DENOISER) if entry.made_with.get("denoiser") else ()
    verify = ("verify", entry_id, "--checkpoint", checkpoint, "--data", data_uri or DATA, *denoiser)
    return [
        ("Train the model", _command("train", config, *overrides, "--out", f"runs/{entry.run_id}")),
        ("Verify this entry with that model", _command("leaderboard", *verify)),
    ]


def explanation(entry: Entry) -> str:
    """Explain the placeholders in the commands; empty if there are none."""
    if not entry.config:
        return ""
    sentences = []
    if not _data_uri(_public(entry.config)):
        copy = "your copy of the data set, written by rcn-search data import"
        sentences.append(f"{DATA}: {copy}, with fingerprint {entry.fingerprint}.")
    if denoiser := entry.made_with.get("denoiser"):
        sentences.append(f"{DENOISER}: best.safetensors of the denoiser, run {denoiser}.")
    return " ".join(sentences)


def _public(config: Any) -> Any:
    """Replace each path of one machine by a placeholder."""

    def replaced(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: replaced(item, f"{key}.{name}") for name, item in value.items()}
        if isinstance(value, list):
            return [replaced(item, key) for item in value]
        if isinstance(value, str) and _LOCAL_PATH.match(value):
            return DATA if key == ".data.uri" else _PATH
        return value

    return replaced(config, "")


def _data_uri(config: Any) -> str | None:
    """Get the URI of the data set, if the configuration names one that is not a local path."""
    data = config.get("data")
    uri = data.get("uri") if isinstance(data, dict) else None
    return uri if isinstance(uri, str) and uri != DATA else None


@lru_cache(maxsize=10_000)  # a run has an entry for each protocol
def _yaml(config_json: str) -> str:
    return dump_yaml(json.loads(config_json))


def _command(*words: str) -> str:
    return shlex.join(["rcn-search", *words])
