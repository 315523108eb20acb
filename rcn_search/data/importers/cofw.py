"""Import COFW in color: 29 points and whether each is hidden (Burgos-Artizzu et al., ICCV 2013), or its 68 points.

    COFW_train_color.mat        IsTr: 1,345 images; phisTr: for each 29 x, 29 y, and 29 times 1 if hidden, else 0
    COFW_test_color.mat         IsT, phisT: 507 faces
    COFW68_Data/test_annotations/1_points.mat …     Points (68, 2) and Occ (68) of the same test faces
                                                    (Ghiasi and Fowlkes, arXiv 1506.08347)

Hidden points are annotated like the others and count in all published errors, so they are stored as labeled ones; the
attribute ``occlusion`` says how many a face has: 0 none, 1 up to a quarter, 2 up to half, 3 more. The published boxes
are not used: faces are framed by their points, as those of the other data sets are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.data.importers.base import Importer, NamedSplits, Row, RowError
from rcn_search.data.importers.mat_process import ImageProcess, is_hdf5, read_json, require_package, run_reader
from rcn_search.data.importers.points.framing import crop_face
from rcn_search.data.importers.points.splits import Member, assign_splits
from rcn_search.data.importers.w300 import from_one_based
from rcn_search.data.sample import Sample
from rcn_search.data.shards import DatasetError
from rcn_search.keypoints import COFW29, IBUG68, KeypointSchema

PUBLISHED_TRAINING, PUBLISHED_TEST = 1_345, 507
FILES = {"train": "COFW_train_color.mat", "test": "COFW_test_color.mat"}
ANNOTATIONS_68 = "test_annotations"
VALIDATION_SHARE = 0.1
_INNER_FOLDER = "common/xpburgos/behavior/code/pose"  # in which the published archive holds the files
_FOLDERS_68 = ("", "COFW68_Data", "cofw68-benchmark/COFW68_Data", "cofw68-benchmark-master/COFW68_Data")


class CofwImporter(Importer):
    """Importer of the folder that holds COFW_train_color.mat and COFW_test_color.mat; one of them may be missing."""

    name = "cofw"
    keypoints = COFW29.name
    schema: KeypointSchema = COFW29
    attributes = ("occlusion",)
    bordered = True
    source = (
        "COFW in color, http://www.vision.caltech.edu/xpburgos/ICCV13/; published coordinates, which count pixels from "
        "1, less 0.5; box of all points x 1.7, padded black; a tenth of the training faces, in the order of a hash, "
        "validates"
    )
    license = "research only; images are not redistributable"
    citation = "X. P. Burgos-Artizzu, P. Perona, P. Dollar, Robust face landmark estimation under occlusion, ICCV 2013"

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        inner = folder / _INNER_FOLDER
        self.folder, self.color = inner if inner.is_dir() else folder, color
        self._images = {part: ImageProcess(self.folder / file) for part, file in FILES.items()}

    def read_rows(self) -> dict[str, list[Row]]:
        """Read the rows of training, validation and test."""
        found = {part: (self.folder / file).is_file() for part, file in FILES.items()}
        if not any(found.values()):
            raise DatasetError(f"{self.folder} holds neither {' nor '.join(FILES.values())}")
        rows = {part: self._annotated(part) for part in FILES if found[part]}
        if "train" not in rows:
            return rows
        members = [
            Member(label=row.label, image=name, group=name, split=None)
            for row in rows["train"]
            for name in [row.text.split(" ")[0]]
        ]
        chosen, _ = assign_splits(members, val=VALIDATION_SHARE, test=0.0)
        splits: dict[str, list[Row]] = {"train": [], "val": []}
        for row, split in zip(rows["train"], chosen, strict=True):
            splits[split].append(row)
        return splits | ({"test": rows["test"]} if "test" in rows else {})

    def _annotated(self, part: str) -> list[Row]:
        path = _color_file(self.folder, part)
        try:
            numbers = read_json("cofw", path)
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path} is not {FILES[part]} as published: {error}") from error
        rows = [Row(path.name, index, _text(part, index, values)) for index, values in enumerate(numbers, start=1)]
        if not rows:
            raise DatasetError(f"{path} has no face")
        return rows

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash the annotations and the version of this importer's rules."""
        digest = hashlib.sha256(f"{self.name} importer 1{', color' if self.color else ''}".encode())
        for split, members in rows.items():
            digest.update("\n".join([split, *(row.text for row in members)]).encode())
        return digest.hexdigest()

    def read_sample(self, row: Row) -> Sample:
        """Crop one face, with black padding where its box leaves the photograph."""
        name, _, numbers = row.text.partition(" ")
        points_k2, hidden_k = _parse(numbers, self.schema.num_points)
        _, part, number = name.split("_")
        image = Image.fromarray(self._images[part].read(int(number) - 1)).convert("RGB")
        sample = crop_face(
            image,
            from_one_based(points_k2),
            None,
            self.schema,
            image_id=name,
            group=name,
            crop_px=self.crop_px,
            color=self.color,
        )
        return dataclasses.replace(sample, attributes={"occlusion": _occlusion_class(hidden_k)})

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Use the name ``test`` only if all published test faces were imported, and note every gap."""
        counts = {
            FILES["train"]: (len(imported.get("train", [])) + len(imported.get("val", [])), PUBLISHED_TRAINING),
            FILES["test"]: (len(imported.get("test", [])), PUBLISHED_TEST),
        }
        notes = [
            f"{file} is {'incomplete' if count else 'missing'}: {count:,} of {published:,} faces"
            for file, (count, published) in counts.items()
            if count != published
        ]
        names = {split: split for split in rows}
        if "test" in rows and len(imported["test"]) != PUBLISHED_TEST:
            names["test"] = "test-part"
        return NamedSplits(names, {names["test"]: f"cofw/{names['test']}"} if "test" in rows else {}, {}, notes)


class Cofw68Importer(CofwImporter):
    """Importer of the folder that holds COFW_test_color.mat and COFW68_Data: a test set of 68 points."""

    name = "cofw-68"
    keypoints = IBUG68.name
    schema = IBUG68
    source = (
        "COFW-68, https://github.com/golnazghiasi/cofw68-benchmark, on the color images of COFW; published "
        "coordinates, which count pixels from 1, less 0.5; box of all points x 1.7, padded black"
    )
    citation = (
        f"G. Ghiasi, C. Fowlkes, Occlusion Coherence: Detecting and Localizing Occluded Faces, arXiv 1506.08347; "
        f"{CofwImporter.citation}"
    )

    def read_rows(self) -> dict[str, list[Row]]:
        """Read the rows of the test faces, in the order of their numbers; a damaged file is refused by its row."""
        _color_file(self.folder, "test")
        folder = next(
            (
                self.folder / each / ANNOTATIONS_68
                for each in _FOLDERS_68
                if (self.folder / each / ANNOTATIONS_68).is_dir()
            ),
            None,
        )
        if folder is None:
            raise DatasetError(f"{self.folder} holds no folder COFW68_Data/{ANNOTATIONS_68}")
        require_package("scipy", folder)
        try:
            lines = [json.loads(line) for line in run_reader("cofw68", folder).splitlines()]
            rows = [Row(f"{ANNOTATIONS_68}/{number}_points.mat", 0, _text_68(number, *said)) for number, *said in lines]
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{folder} is not as published: {error}") from error
        if not rows:
            raise DatasetError(f"{folder} holds no file such as 1_points.mat")
        return {"test": rows}

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Use the name ``test`` only if all published test faces were imported."""
        count = len(imported["test"])
        name = "test" if count == PUBLISHED_TEST else "test-part"
        notes = [] if name == "test" else [f"COFW-68 is incomplete: {count:,} of {PUBLISHED_TEST:,} faces"]
        return NamedSplits({"test": name}, {name: f"cofw68/{name}"}, {}, notes)


def _color_file(folder: Path, part: str) -> Path:
    path = folder / FILES[part]
    if not path.is_file():
        raise DatasetError(f"{path} is missing; it holds the images")
    if not is_hdf5(path):
        raise DatasetError(f"{path} is no file of MATLAB 7.3, as which {FILES[part]} was published")
    require_package("h5py", path)
    return path


def _text(part: str, number: int, values: Sequence[float]) -> str:
    """Text of a row: the name of the face, then its numbers."""
    return " ".join([f"cofw_{part}_{number:04d}", *map(repr, values)])


def _text_68(number: int, said: str | Sequence[Sequence[float]], hidden: Sequence[float] = ()) -> str:
    if isinstance(said, str):  # why the file could not be read
        return f"cofw_test_{number:04d} {said}"
    x, y = zip(*said, strict=True)
    return _text("test", number, [*x, *y, *hidden])


def _parse(numbers: str, num_points: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read all x, all y, and which points are hidden."""
    try:
        values_3k = np.array(numbers.split(" "), float).reshape(3, num_points)
    except ValueError:
        raise RowError(f"annotation cannot be read: {numbers[:200]}") from None
    if not np.isfinite(values_3k[:2]).all():
        raise RowError("a coordinate is not finite")
    if not np.isin(values_3k[2], (0, 1)).all():
        raise RowError("a mark of a hidden point is neither 0 nor 1")
    return values_3k[:2].T, values_3k[2] == 1


def _occlusion_class(hidden_k: NDArray[np.bool_]) -> int:
    share = hidden_k.mean()
    return 0 if share == 0 else 1 if share <= 0.25 else 2 if share <= 0.5 else 3
