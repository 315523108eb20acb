"""Importers, one module for each published format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rcn_search.data.importers.afw import Afw68Importer, AfwImporter
from rcn_search.data.importers.base import Importer
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importers.w300 import W300Importer


class FolderImporter(Protocol):
    """Constructor of an importer of a published folder."""

    def __call__(self, folder: Path, *, color: bool = False) -> Importer:
        """Create the importer of a folder; ``color`` keeps red, green and blue."""


IMPORTERS: dict[str, FolderImporter] = {
    "mtfl": MtflImporter,
    "300w": W300Importer,
    "afw": AfwImporter,
    "afw-68": Afw68Importer,
}
