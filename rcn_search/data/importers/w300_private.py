"""Import the private test set of 300-W (Sagonas et al., Image and Vision Computing 2016): 300 faces indoors, 300 out.

    300W/01_Indoor/indoor_001.png, indoor_001.pts
    300W/02_Outdoor/outdoor_001.png, outdoor_001.pts

Faces are read, cropped and counted as those of 300-W; the data set has test splits only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from rcn_search.data.importers import pts
from rcn_search.data.importers.base import NamedSplits, Row
from rcn_search.data.importers.w300 import W300Importer
from rcn_search.data.shards import DatasetError

FOLDERS = {"private-indoor": "01_Indoor", "private-outdoor": "02_Outdoor"}
NUM_PUBLISHED = 300  # faces of each


class W300PrivateImporter(W300Importer):
    """Importer of the folder that holds 01_Indoor and 02_Outdoor."""

    name = "300w-private"
    source = (
        "300-W, private test set (68 points), https://ibug.doc.ic.ac.uk/resources/300-W/; "
        "published coordinates less 1; box of all points x 1.7, padded black"
    )
    citation = (
        "C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou, M. Pantic, 300 Faces In-The-Wild Challenge: "
        "database and results, Image and Vision Computing 2016"
    )

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        super().__init__(folder / "300W" if (folder / "300W").is_dir() else folder, color=color)

    def read_rows(self) -> dict[str, list[Row]]:
        """Read the rows of both test splits."""
        rows = {split: pts.read_rows(self.folder, folder) for split, folder in FOLDERS.items()}
        if not any(rows.values()):
            raise DatasetError(f"{self.folder} holds no .pts file in any of {', '.join(FOLDERS.values())}")
        return {split: members for split, members in rows.items() if members}

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash the annotations and the version of this importer's rules."""
        digest = hashlib.sha256(b"300w-private importer 1, color" if self.color else b"300w-private importer 1")
        for split, members in rows.items():
            digest.update("\n".join([split, *(f"{row.file}\n{row.text}" for row in members)]).encode())
        return digest.hexdigest()

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Rename incomplete splits, and form their union, ``private``, if both are complete."""
        counts = {split: len(imported.get(split, [])) for split in FOLDERS}
        names = {split: split if counts[split] == NUM_PUBLISHED else f"{split}-part" for split in rows}
        notes = [
            f"{FOLDERS[split]} is {'incomplete' if count else 'missing'}: {count:,} of {NUM_PUBLISHED:,} faces"
            for split, count in counts.items()
            if count != NUM_PUBLISHED
        ]
        unions = {} if notes else {"private": list(FOLDERS)}
        return NamedSplits(names, {name: f"300w/{name}" for name in (*names.values(), *unions)}, unions, notes)
