"""AFW to test on, five points: from its original annotation, or derived from the 68 points of 300-W (rcn.md 1.2).

The two hold other faces and other points. They are called ``afw`` and ``afw-68`` and are never compared.
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
_FIVE_OF_SIX = [0, 1, 2, 3, 5]  # without the mouth centre
_NOSE_TIP, _LEFT_MOUTH, _RIGHT_MOUTH = 30, 48, 54


class AfwImporter(Importer):
    """The unzipped AFW.zip: ``anno.mat`` and its images, in SRC or in its folder testimages."""

    name = "afw"
    keypoints = "five"
    attributes = ()
    test_splits = MappingProxyType({"afw": "afw/test"})
    source = (
        "AFW (anno.mat of Zhu and Ramanan): faces with all six landmarks visible, the mouth centre left out, "
        "coordinates as published"
    )
    licence = "research only; images are not redistributable"
    citation = "X. Zhu, D. Ramanan, Face Detection, Pose Estimation and Landmark Localization in the Wild, CVPR 2012"

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        inner = folder / "testimages"  # as the published archive has it
        self.folder = inner if (inner / "anno.mat").is_file() else folder
        self.color = color
        self._num_left_out = 0

    def read_rows(self) -> dict[str, list[Row]]:
        """One row for each face whose twelve numbers are all finite, in the order of the file.

        Raises:
            DatasetError: The annotation is missing or not as published, or holds no such face.
        """
        images = read_anno(self.folder / "anno.mat")
        rows = [
            Row("anno.mat", number, " ".join([f"{image.name}#{face}", *map(repr, points_62.ravel().tolist())]))
            for number, image in enumerate(images, start=1)
            for face, points_62 in enumerate(image.faces, start=1)
            if np.isfinite(points_62).all()
        ]
        self._num_left_out = sum(len(image.faces) for image in images) - len(rows)
        if not rows:
            raise DatasetError(f"{self.folder / 'anno.mat'} holds no face with all six landmarks")
        return {"afw": rows}

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash of the annotations and of the rules of this importer."""
        return _hash("afw importer 1", rows, self.color)

    def read_sample(self, row: Row) -> Sample:
        """Crop one face.

        Raises:
            RowError: Its image is not usable; the message is the reason.
        """
        face, *numbers = row.text.rsplit(" ", 12)
        name = face.rpartition("#")[0]
        points_k2 = np.array(numbers, float).reshape(6, 2)[_FIVE_OF_SIX]
        image = open_photo(self.folder, name)
        require_inside(points_k2, image)
        return five_point_sample(image, points_k2, image_id=face, group=name, color=self.color)

    def arrange(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """The full name only where every face of the rule is there; a count other than the paper's is noted."""
        chosen = len(rows["afw"])
        paper = "" if chosen == NUM_FACES_IN_PAPER else f"; the paper has {NUM_FACES_IN_PAPER}"
        note = f"{chosen:,} faces have all six landmarks, {self._num_left_out:,} have not and are left out{paper}"
        return _one_test("afw", len(imported["afw"]), chosen, [note])


class Afw68Importer(Importer):
    """The folder afw of 300-W, or the folder that holds it; five points are derived from the 68."""

    name = "afw-68"
    keypoints = "five"
    attributes = ()
    test_splits = MappingProxyType({"afw-68": "afw-68/test"})
    source = (
        "AFW as annotated with 68 points for 300-W, https://ibug.doc.ic.ac.uk/resources/300-W/; five points derived: "
        "each eye the mean of its six points (36-41, 42-47), nose tip 30, mouth corners 48 and 54, counted from 0; "
        "published coordinates less 1"
    )
    licence = "non-commercial research only; images are not redistributable"
    citation = f"{AfwImporter.citation}; C. Sagonas et al., 300 Faces in-the-Wild Challenge, ICCV-W 2013"

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        self.folder = folder / "afw" if (folder / "afw").is_dir() else folder
        self.color = color

    def read_rows(self) -> dict[str, list[Row]]:
        """One row for each .pts file, sorted by name.

        Raises:
            DatasetError: There is none, or there are more than were published.
        """
        rows = pts.read_rows(self.folder, "")
        if not 1 <= len(rows) <= NUM_FACES_68:
            raise DatasetError(
                f"{self.folder} holds {len(rows):,} .pts files, the published afw has {NUM_FACES_68}; "
                "SRC must be the folder afw of 300-W, or the one that holds it"
            )
        return {"afw-68": rows}

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash of the annotations and of the rules of this importer."""
        return _hash("afw-68 importer 1", rows, self.color)

    def read_sample(self, row: Row) -> Sample:
        """Crop one face.

        Raises:
            RowError: The annotation or its image is not usable; the message is the reason.
        """
        points_k2 = five_of_68(from_one_based(pts.parse_points(row.text)))
        image = open_photo(self.folder, pts.photo_name(self.folder, row))
        require_inside(points_k2, image)
        return five_point_sample(
            image, points_k2, image_id=pts.face_id(row), group=pts.photo_id(row), color=self.color
        )

    def arrange(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """The full name only where all 337 published faces are there."""
        count = len(imported["afw-68"])
        notes = [f"afw is incomplete: {count:,} of {NUM_FACES_68:,} faces"] if count != NUM_FACES_68 else []
        return _one_test("afw-68", count, NUM_FACES_68, notes)


def five_of_68(points_k2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the schema ``five`` from those of ``ibug68``; an eye's centre is the mean of its six points."""
    left_eye, right_eye = (points_k2[list(eye)].mean(axis=0) for eye in IBUG68.normalisers["pupils"])
    return np.stack([left_eye, right_eye, *points_k2[[_NOSE_TIP, _LEFT_MOUTH, _RIGHT_MOUTH]]])


def _one_test(split: str, count: int, whole: int, notes: list[str]) -> NamedSplits:
    part = "" if count == whole else "-part"
    return NamedSplits({split: split + part}, {split + part: f"{split}/test{part}"}, {}, notes)


def _hash(rules: str, rows: dict[str, list[Row]], colour: bool) -> str:
    digest = hashlib.sha256(f"{rules}, colour".encode() if colour else rules.encode())
    digest.update("\n".join(f"{row.file}\n{row.text}" for members in rows.values() for row in members).encode())
    return digest.hexdigest()
