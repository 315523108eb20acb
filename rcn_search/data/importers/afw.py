"""Import AFW as a test set of five points: its original annotation, or points derived from the 68 of 300-W.

They hold different faces and points and are never compared (docs/explanation/model-specification.md, "Data and crops").
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers import pts
from rcn_search.data.importers.anno_mat import read_anno
from rcn_search.data.importers.base import Importer, NamedSplits, Row
from rcn_search.data.importers.photo import five_point_sample, open_photo, require_inside
from rcn_search.data.importers.w300 import PUBLISHED_TRAINING, from_one_based
from rcn_search.data.sample import Sample
from rcn_search.data.shards import DatasetError
from rcn_search.keypoints import IBUG68

NUM_FACES_IN_PAPER = 377
NUM_FACES_68 = PUBLISHED_TRAINING["afw"]
_FIVE_OF_SIX = [0, 1, 2, 3, 5]  # without the mouth center
_NOSE_TIP, _LEFT_MOUTH, _RIGHT_MOUTH = 30, 48, 54


class AfwImporter(Importer):
    """Importer of the unzipped AFW.zip: ``anno.mat`` and its images, in the folder or its subfolder testimages."""

    name = "afw"
    keypoints = "five"
    attributes = ()
    test_splits = MappingProxyType({"afw": "afw/test"})
    source = (
        "AFW (anno.mat of Zhu and Ramanan): faces with all six landmarks visible, the mouth center left out, "
        "coordinates as published"
    )
    license = "research only; images are not redistributable"
    citation = "X. Zhu, D. Ramanan, Face Detection, Pose Estimation and Landmark Localization in the Wild, CVPR 2012"

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        inner = folder / "testimages"  # as in the published archive
        self.folder = inner if (inner / "anno.mat").is_file() else folder
        self.color = color
        self._num_incomplete = 0

    def read_rows(self) -> dict[str, list[Row]]:
        """Read the faces whose twelve numbers are all finite, one row for each, in the order of the file."""
        images = read_anno(self.folder / "anno.mat")
        rows = [
            Row("anno.mat", number, " ".join([f"{image.name}#{face}", *map(repr, points_62.ravel().tolist())]))
            for number, image in enumerate(images, start=1)
            for face, points_62 in enumerate(image.faces, start=1)
            if np.isfinite(points_62).all()
        ]
        self._num_incomplete = sum(len(image.faces) for image in images) - len(rows)
        if not rows:
            raise DatasetError(f"{self.folder / 'anno.mat'} holds no face with all six landmarks")
        return {"afw": rows}

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash the annotations and the version of this importer's rules."""
        return _hash("afw importer 1", rows, self.color)

    def read_sample(self, row: Row) -> Sample:
        """Crop one face."""
        face, *numbers = row.text.rsplit(" ", 12)
        name = face.rpartition("#")[0]
        points_k2 = np.array(numbers, float).reshape(6, 2)[_FIVE_OF_SIX]
        image = open_photo(self.folder, name)
        require_inside(points_k2, image)
        return five_point_sample(image, points_k2, image_id=face, group=name, color=self.color)

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Use the name ``afw`` only if all chosen faces were imported, and note a count other than the paper's."""
        chosen = len(rows["afw"])
        paper = "" if chosen == NUM_FACES_IN_PAPER else f"; the paper has {NUM_FACES_IN_PAPER}"
        note = f"{chosen:,} faces have all six landmarks; {self._num_incomplete:,} others are left out{paper}"
        return _one_test("afw", len(imported["afw"]), chosen, [note])


class Afw68Importer(Importer):
    """Importer of the folder afw of 300-W, or of the folder that holds it; five points are derived from the 68."""

    name = "afw-68"
    keypoints = "five"
    attributes = ()
    test_splits = MappingProxyType({"afw-68": "afw-68/test"})
    source = (
        "AFW as annotated with 68 points for 300-W, https://ibug.doc.ic.ac.uk/resources/300-W/; five points derived: "
        "each eye the mean of its six points (36-41, 42-47), nose tip 30, mouth corners 48 and 54, counted from 0; "
        "published coordinates less 1"
    )
    license = "non-commercial research only; images are not redistributable"
    citation = f"{AfwImporter.citation}; C. Sagonas et al., 300 Faces in-the-Wild Challenge, ICCV-W 2013"

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        self.folder = folder / "afw" if (folder / "afw").is_dir() else folder
        self.color = color

    def read_rows(self) -> dict[str, list[Row]]:
        """List the .pts files, one row for each, sorted by name."""
        rows = pts.read_rows(self.folder, "")
        if not 1 <= len(rows) <= NUM_FACES_68:
            raise DatasetError(
                f"{self.folder} holds {len(rows):,} .pts files, the published afw has {NUM_FACES_68}; "
                "the source folder must be the folder afw of 300-W, or the one that holds it"
            )
        return {"afw-68": rows}

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash the annotations and the version of this importer's rules."""
        return _hash("afw-68 importer 1", rows, self.color)

    def read_sample(self, row: Row) -> Sample:
        """Crop one face."""
        points_k2 = five_of_68(from_one_based(pts.parse_points(row.text)))
        image = open_photo(self.folder, pts.photo_name(self.folder, row))
        require_inside(points_k2, image)
        return five_point_sample(image, points_k2, image_id=pts.face_id(row), group=pts.photo_id(row), color=self.color)

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Use the name ``afw-68`` only if all 337 published faces were imported."""
        count = len(imported["afw-68"])
        notes = [f"afw is incomplete: {count:,} of {NUM_FACES_68:,} faces"] if count != NUM_FACES_68 else []
        return _one_test("afw-68", count, NUM_FACES_68, notes)


def five_of_68(points_k2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derive the points (5, 2) of the schema ``five`` from (68, 2); an eye's center is the mean of its six points."""
    left_eye, right_eye = (points_k2[list(eye)].mean(axis=0) for eye in IBUG68.normalizers["pupils"])
    return np.stack([left_eye, right_eye, *points_k2[[_NOSE_TIP, _LEFT_MOUTH, _RIGHT_MOUTH]]])


def _one_test(split: str, num_faces: int, num_complete: int, notes: list[str]) -> NamedSplits:
    part = "" if num_faces == num_complete else "-part"
    return NamedSplits({split: split + part}, {split + part: f"{split}/test{part}"}, {}, notes)


def _hash(rules: str, rows: dict[str, list[Row]], color: bool) -> str:
    # "colour" as spelled when the first data sets were imported
    digest = hashlib.sha256(f"{rules}, colour".encode() if color else rules.encode())
    digest.update("\n".join(f"{row.file}\n{row.text}" for members in rows.values() for row in members).encode())
    return digest.hexdigest()
