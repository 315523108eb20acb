"""Import WFLW (Wu et al., CVPR 2018): 98 points on faces of WIDER Face, with six attributes of the test faces.

    WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt
    WFLW_images/0--Parade/0_Parade_Parade_0_116.jpg

A line has 98 points x, y, the corners of a rectangle, the attributes pose, expression, illumination, make-up, occlusion
and blur as 0 or 1, and the image. A face may be in several test subsets, so test faces are stored by the combination of
their attributes, and each published subset is the union of some of these splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers.base import Importer, NamedSplits, Row, RowError, plain_number
from rcn_search.data.importers.photo import open_photo
from rcn_search.data.importers.points.framing import crop_face
from rcn_search.data.importers.points.splits import Member, assign_splits
from rcn_search.data.sample import Sample
from rcn_search.data.shards import DatasetError
from rcn_search.keypoints import WFLW98

LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"
IMAGES = "WFLW_images"
SUBSETS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
"""Published test subsets, in the order of the attributes of a line."""
PUBLISHED_TRAINING = 7_500
PUBLISHED_TESTS = {
    "test": 2_500,
    "pose": 326,
    "expression": 314,
    "illumination": 698,
    "makeup": 206,
    "occlusion": 736,
    "blur": 773,
}
VALIDATION_SHARE = 0.1
_NUM_COORDINATES, _NUM_CORNERS = 196, 4
_NUM_FIELDS = _NUM_COORDINATES + _NUM_CORNERS + len(SUBSETS) + 1


class WflwImporter(Importer):
    """Importer of the folder that holds WFLW_annotations and WFLW_images."""

    name = "wflw"
    keypoints = WFLW98.name
    attributes = ()
    bordered = True
    source = (
        "WFLW, https://wywu.github.io/projects/LAB/WFLW.html; coordinates as published; box of all points x 1.7, "
        "padded black; a tenth of the training photographs, in the order of a hash, validates"
    )
    license = "non-commercial research only; images are not redistributable"
    citation = "W. Wu et al., Look at Boundary: A Boundary-Aware Face Alignment Algorithm, CVPR 2018"

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        self.folder, self.color = folder, color
        self._image_ids: dict[Row, str] = {}

    def read_rows(self) -> dict[str, list[Row]]:
        """Read the rows of training, validation and each combination of attributes of the test faces."""
        training, testing = self._lines("train"), self._lines("test")
        counts: Counter[str] = Counter()
        for row in (*training, *testing):
            name = _image_name(row)
            counts[name] += 1
            self._image_ids[row] = name if counts[name] == 1 else f"{name}#{counts[name]}"
        members = [
            Member(label=row.label, image=_image_name(row), group=_image_name(row), split=None) for row in training
        ]
        splits, _ = assign_splits(members, val=VALIDATION_SHARE, test=0.0)
        rows: dict[str, list[Row]] = {"train": [], "val": []}
        for row, split in zip(training, splits, strict=True):
            rows[split].append(row)
        for row in sorted(testing, key=lambda row: (_attributes(row), row.line)):
            rows.setdefault(f"test-{_attributes(row)}", []).append(row)
        return rows

    def _lines(self, part: str) -> list[Row]:
        file = f"{LISTS}/list_98pt_rect_attr_{part}.txt"
        try:
            lines = (self.folder / file).read_bytes().decode("utf-8-sig").split("\n")
        except FileNotFoundError:
            raise DatasetError(
                f"{self.folder / file} is missing; the source folder must hold WFLW_annotations"
            ) from None
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.folder / file} is not a text file: {error}") from error
        rows = [Row(file, number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
        if not rows:
            raise DatasetError(f"{self.folder / file} has no line")
        return rows

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash the annotations and the version of this importer's rules."""
        digest = hashlib.sha256(b"wflw importer 1, color" if self.color else b"wflw importer 1")
        for split, members in rows.items():
            digest.update("\n".join([split, *(row.text for row in members)]).encode())
        return digest.hexdigest()

    def read_sample(self, row: Row) -> Sample:
        """Crop the face of one line, with black padding where its box leaves the photograph."""
        points_k2 = _parse_points(row)
        name = _image_name(row)
        return crop_face(
            open_photo(self.folder / IMAGES, name),
            points_k2,
            None,
            WFLW98,
            image_id=self._image_ids[row],
            group=name,
            crop_px=self.crop_px,
            color=self.color,
        )

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Form the published subsets; they are called otherwise if a face of theirs is missing."""
        stored = [split for split in rows if split.startswith("test-")]
        members = {"test": stored} | {
            subset: [split for split in stored if split.removeprefix("test-")[place] == "1"]
            for place, subset in enumerate(SUBSETS)
        }
        unions, notes = {}, []
        num_training = len(imported["train"]) + len(imported["val"])
        if num_training != PUBLISHED_TRAINING:
            notes.append(f"training is incomplete: {num_training:,} of {PUBLISHED_TRAINING:,} faces")
        for subset, splits in members.items():
            count, published = sum(len(imported[split]) for split in splits), PUBLISHED_TESTS[subset]
            if count != published:
                notes.append(f"{subset} is {'incomplete' if count else 'missing'}: {count:,} of {published:,} faces")
            if splits:
                unions[subset if count == published else f"{subset}-part"] = splits
        tests = {name: f"wflw/{name}" for name in (*stored, *unions)}
        return NamedSplits({split: split for split in rows}, tests, unions, notes)


def _image_name(row: Row) -> str:
    return row.text.split(" ")[-1]


def _attributes(row: Row) -> str:
    """Attributes of a line as six digits, 0 or 1; zeros if the line is malformed, which `_parse_points` refuses."""
    flags = row.text.split()[_NUM_COORDINATES + _NUM_CORNERS : -1]
    return "".join(flags) if len(flags) == len(SUBSETS) and set(flags) <= {"0", "1"} else "0" * len(SUBSETS)


def _parse_points(row: Row) -> NDArray[np.float64]:
    fields = row.text.split()
    if len(fields) != _NUM_FIELDS:
        raise RowError(f"malformed line: {len(fields)} fields instead of {_NUM_FIELDS}")
    if not set(fields[_NUM_COORDINATES + _NUM_CORNERS : -1]) <= {"0", "1"}:
        raise RowError("malformed line: an attribute is neither 0 nor 1")
    try:
        numbers = [float(plain_number(value)) for value in fields[:_NUM_COORDINATES]]
    except ValueError as error:
        raise RowError(f"malformed line: {error}") from error
    points_k2 = np.array(numbers).reshape(-1, 2)
    if not np.isfinite(points_k2).all():
        raise RowError("malformed line: a coordinate is not finite")
    return points_k2
