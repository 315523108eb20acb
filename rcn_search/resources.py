"""Files that come with the package: study files, training configurations, published rows and tested versions.

In a checkout they lie beside the package; the wheel carries copies of them (``force-include`` in pyproject.toml).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from rcn_search import storage

_PACKAGE = Path(str(files("rcn_search")))
_WHEEL_FILES = _PACKAGE / "packaged"
STUDIES, CONFIGS = "search_spaces", "configs"
DEFAULT_MODEL = "rcn5-drawn"
"""The packaged weights of commands that are given no model."""


def resource_path(name: str) -> Path:
    """Path of a file or folder by its path in the checkout, as ``leaderboard/published``; it need not exist."""
    return (_PACKAGE.parent if is_checkout() else _WHEEL_FILES) / name


def weights_folder() -> Path:
    """Folder of the packaged checkpoints, ``NAME.safetensors``, in a checkout and in an installation."""
    return _PACKAGE / "weights"


def packaged_weights(name: str) -> Path | None:
    """Find a packaged checkpoint by its name."""
    path = weights_folder() / f"{name}.safetensors"
    return path if "/" not in name and path.is_file() else None


def absolute_weights(name: str) -> str:
    """Make a path of weights absolute; packaged weights are known by their name on every machine."""
    return name if packaged_weights(name) else storage.absolute(name)


def is_checkout() -> bool:
    """Whether the package is imported from a checkout, or from an editable installation of one."""
    return not _WHEEL_FILES.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file()


def find_config(name: str) -> Path | None:
    """Find a study file or training configuration by its name, as ``rcn6``, or its path, as ``configs/rcn6.yaml``."""
    for folder in (STUDIES, CONFIGS):
        for stem in config_names(folder):
            if name in (stem, f"{folder}/{stem}.yaml"):
                return resource_path(folder) / f"{stem}.yaml"
    return None


def config_names(folder: str) -> list[str]:
    """Names of the files in `STUDIES` or `CONFIGS`."""
    return sorted(path.stem for path in resource_path(folder).glob("*.yaml"))
