"""One module for each published format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rcn_search.data.importers.base import Importer
from rcn_search.data.importers.mtfl import MtflImporter

IMPORTERS: dict[str, Callable[[Path], Importer]] = {"mtfl": MtflImporter}
