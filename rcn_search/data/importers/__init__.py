"""Importers, one module for each published format, and those of other packages by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from rcn_search.data.importers.afw import Afw68Importer, AfwImporter
from rcn_search.data.importers.base import Importer
from rcn_search.data.importers.cofw import Cofw68Importer, CofwImporter
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importers.w300 import W300Importer
from rcn_search.data.importers.w300_private import W300PrivateImporter
from rcn_search.data.importers.wflw import WflwImporter
from rcn_search.data.shards import DatasetError

ENTRY_POINTS = "rcn_search.importers"
"""Group of entry points by which other packages add importers: a `FolderImporter` by the name of its format."""


class FolderImporter(Protocol):
    """Constructor of an importer of a published folder."""

    def __call__(self, folder: Path, *, color: bool = False) -> Importer:
        """Create the importer of a folder; ``color`` keeps red, green and blue."""


IMPORTERS: dict[str, FolderImporter] = {
    "mtfl": MtflImporter,
    "300w": W300Importer,
    "afw": AfwImporter,
    "afw-68": Afw68Importer,
    "wflw": WflwImporter,
    "300w-private": W300PrivateImporter,
    "cofw": CofwImporter,
    "cofw-68": Cofw68Importer,
}


def importer_names() -> list[str]:
    """Names of all formats: the built-in ones, then those of other packages."""
    return [*dict.fromkeys((*IMPORTERS, *(sorted(entry_points(group=ENTRY_POINTS).names))))]


def find_importer(name: str) -> FolderImporter:
    """Find the importer of a format, of this package or of another one.

    Raises:
        DatasetError: No importer has that name, or that of another package cannot be loaded.
    """
    if name in IMPORTERS:
        return IMPORTERS[name]
    found = list(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        raise DatasetError(f"unknown format {name!r}; known: points, {', '.join(importer_names())}")
    try:
        importer: FolderImporter = found[0].load()
    except Exception as error:  # of a package that is not ours
        raise DatasetError(f"the importer {name!r} is {found[0].value}, which cannot be loaded: {error}") from error
    if not callable(importer):
        raise DatasetError(f"the importer {name!r} is {found[0].value}, which is no importer")
    return importer
