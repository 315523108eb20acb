"""How a reader gets an entry again: its configuration and command lines, without paths of the machine it is from."""

from __future__ import annotations

import json
import re
import shlex
from functools import lru_cache
from typing import Any

import yaml

from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.site.urls import config_file

DATA = "DATA"
"""Stands where the reader's own copy of the data set belongs."""

_PATH = "PATH"
_OF_A_MACHINE = re.compile(r"(?:/|~|file:|[A-Za-z]:[\\/]|\\\\)", re.IGNORECASE)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast where libyaml is there


def config_yaml(entry: Entry) -> str:
    """The configuration as `rcn-search train` takes it; empty where the entry has none."""
    return _yaml(json.dumps(_public(entry.config))) if entry.config else ""


def command_lines(entry: Entry, entry_id: str) -> list[tuple[str, str]]:
    """What each line does, and the line."""
    config = config_file(entry)
    if config is None:
        return [("Score its predictions again", _line("leaderboard", "rescore", entry_id))]
    stated = _data_uri(_public(entry.config))
    own_data = () if stated else ("--set", f"data.uri={DATA}")
    checkpoint = f"runs/{entry.run_id}/best.safetensors"
    denoiser = ("--denoiser", "DENOISER") if entry.made_with.get("denoiser") else ()
    verify = ("verify", entry_id, "--checkpoint", checkpoint, "--data", stated or DATA, *denoiser)
    return [
        ("Train it again", _line("train", config, *own_data, "--out", f"runs/{entry.run_id}")),
        ("Check it against this entry", _line("leaderboard", *verify)),
    ]


def explanation(entry: Entry) -> str:
    """What the capital words of the lines stand for; empty where there are none."""
    if not entry.config:
        return ""
    told = []
    if not _data_uri(_public(entry.config)):
        told.append(
            f"{DATA}: your copy of the data set, as rcn-search data import writes it; "
            f"the fingerprint of the images of this entry is {entry.fingerprint}."
        )
    if denoiser := entry.made_with.get("denoiser"):
        told.append(f"DENOISER: best.safetensors of the denoiser, run {denoiser}.")
    return " ".join(told)


def _public(config: Any) -> Any:
    """The same with a word in place of each path that means something on one machine only."""

    def replaced(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: replaced(each, f"{key}.{name}") for name, each in value.items()}
        if isinstance(value, list):
            return [replaced(each, key) for each in value]
        if isinstance(value, str) and _OF_A_MACHINE.match(value):
            return DATA if key == ".data.uri" else _PATH
        return value

    return replaced(config, "")


def _data_uri(config: Any) -> str | None:
    """The data set that the configuration names for everyone."""
    data = config.get("data")
    uri = data.get("uri") if isinstance(data, dict) else None
    return uri if isinstance(uri, str) and uri != DATA else None


@lru_cache(maxsize=10_000)  # a run has an entry for each protocol, and they are tables apart
def _yaml(config_json: str) -> str:
    return str(yaml.dump(json.loads(config_json), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def _line(*words: str) -> str:
    return shlex.join(["rcn-search", *words])
