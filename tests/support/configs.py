"""Configuration files for tests, and the messages that they cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.config.errors import ConfigError
from rcn_search.config.loading import load_train_config

TRAIN_YAML = """\
data:
  uri: data/mtfl
model:
  name: rcn
  branches: 5
schedule: {epochs: 3, batch_size: 32}
"""


def write_config(folder: Path, text: str) -> str:
    """Write ``text`` as a configuration file; return its path."""
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


def config_error(folder: Path, text: str, *overrides: str) -> str:
    """Load ``text`` with overrides, and return the message of the error."""
    with pytest.raises(ConfigError) as raised:
        load_train_config(write_config(folder, text), overrides)
    return str(raised.value)
