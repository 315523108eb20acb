"""Files that come with the package: study files, training configurations, published rows and tested versions.

In a checkout they lie beside the package, where they can be edited. The wheel carries copies of them (``force-include``
in pyproject.toml).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_PACKAGE = Path(str(files("rcn_search")))
_WHEEL_FILES = _PACKAGE / "packaged"
STUDIES, CONFIGS = "search_spaces", "configs"


def resource_path(name: str) -> Path:
    """Path of a file or folder that comes with the package; nothing is there if the installation is incomplete.

    Args:
        name: Path in the checkout, for example ``leaderboard/published``.
    """
    return (_PACKAGE.parent if is_checkout() else _WHEEL_FILES) / name


def is_checkout() -> bool:
    """Whether the package is imported from a checkout, or from an editable installation of one."""
    return not _WHEEL_FILES.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file()


def find_config(name: str) -> Path | None:
    """Find a study file or training configuration that comes with the package.

    Args:
        name: Name without folder and suffix, for example ``rcn6``, or path in the checkout, for example
            ``configs/rcn6.yaml``.

    Returns:
        Path of the file; None if there is none of that name.
    """
    for folder in (STUDIES, CONFIGS):
        for stem in config_names(folder):
            if name in (stem, f"{folder}/{stem}.yaml"):
                return resource_path(folder) / f"{stem}.yaml"
    return None


def config_names(folder: str) -> list[str]:
    """Names of the files in `STUDIES` or `CONFIGS`."""
    return sorted(path.stem for path in resource_path(folder).glob("*.yaml"))
