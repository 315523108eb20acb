"""Import MTFL (Zhang et al., ECCV 2014): docs/explanation/model-specification.md, "Data and crops"."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers.base import Importer, NamedSplits, Row, RowError, plain_number
from rcn_search.data.importers.photo import five_point_sample, open_photo
from rcn_search.data.sample import ATTRIBUTE_CLASSES, Sample
from rcn_search.data.shards import DatasetError

SPLIT_SEED = 7345
NUM_VALIDATION = 1_000
NUM_PUBLISHED = 10_000
PUBLISHED = {"training.txt": NUM_PUBLISHED, "testing.txt": 2_995}
_MAX_BYTES, _MAX_LINES = 16_000_000, 200_000  # of an annotation file; the published ones have 1.4 MB
_NUM_FIELDS = 15


class MtflImporter(Importer):
    """Importer of the unzipped folder: training.txt, testing.txt and the image folders they name."""

    name = "mtfl"
    keypoints = "five"
    attributes = tuple(ATTRIBUTE_CLASSES)
    test_splits = MappingProxyType({"aflw": "aflw/test"})
    source = "MTFL (LFW and web faces; test faces of AFLW), https://mmlab.ie.cuhk.edu.hk/projects/TCDCN.html"
    license = "non-commercial research only; images are not redistributable"
    citation = "Z. Zhang, P. Luo, C. C. Loy, X. Tang, Facial Landmark Detection by Deep Multi-task Learning, ECCV 2014"

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        self.folder, self.color = folder, color

    def read_rows(self) -> dict[str, list[Row]]:
        """Read the rows of the three splits, in the order in which they are to be stored.

        Training and validation are split as in the paper's code: all training rows are permuted by NumPy's legacy
        generator with seed 7345, and the last 1,000 validate (of a training file of other length, the last tenth).
        """
        training, testing = self._lines("training.txt"), self._lines("testing.txt")
        order = np.random.RandomState(SPLIT_SEED).permutation(len(training))
        num_validation = NUM_VALIDATION if len(training) == NUM_PUBLISHED else len(training) // 10
        shuffled = [Row("training.txt", index + 1, training[index]) for index in order.tolist()]
        return {
            "train": shuffled[: len(shuffled) - num_validation],
            "val": shuffled[len(shuffled) - num_validation :],
            "aflw": [Row("testing.txt", index + 1, text) for index, text in enumerate(testing)],
        }

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        try:
            with path.open("rb") as stream:
                content = stream.read(_MAX_BYTES + 1)
            if len(content) > _MAX_BYTES or content.count(b"\n") > _MAX_LINES:
                raise DatasetError(f"{path} is too large for MTFL: over {_MAX_BYTES:,} bytes or {_MAX_LINES:,} lines")
            lines = content.decode("utf-8-sig").split("\n")  # splitlines would also split at U+2028
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing; the source folder must be the unzipped MTFL folder") from None
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path} is not a text file: {error}") from error
        while lines and not lines[-1].strip():  # the published test file ends with a line of one blank
            lines.pop()
        return [line.strip() for line in lines]

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash the annotations and the version of this importer's rules."""
        digest = hashlib.sha256(b"mtfl importer 1")
        for split, members in rows.items():
            digest.update("\n".join([split, *(row.text for row in members)]).encode())
        if self.color:
            digest.update(b"colour")  # as spelled when the first data sets were imported
        return digest.hexdigest()

    def read_sample(self, row: Row) -> Sample:
        """Crop the face of one line."""
        name, points_k2, attributes = _parse(row.text)
        image = open_photo(self.folder, name)
        width, height = image.size
        for x, y in points_k2.tolist():
            if not (0 <= x <= width and 0 <= y <= height):
                raise RowError(f"point ({x:g}, {y:g}) lies outside its {width}x{height} image")
        return five_point_sample(image, points_k2, image_id=name, group=name, attributes=attributes, color=self.color)

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Keep the names of the splits, and note which published faces are not there."""
        counts = Counter(row.file for members in imported.values() for row in members)
        notes = [
            f"{file} is incomplete: {counts[file]:,} of {published:,} faces"
            if counts[file] < published
            else f"{file} has {counts[file]:,} faces, but {published:,} were published"
            for file, published in PUBLISHED.items()
            if counts[file] != published
        ]
        return super().name_splits(rows, imported)._replace(notes=notes)


def _parse(text: str) -> tuple[str, NDArray[np.float64], dict[str, int]]:
    fields = text.split()
    if len(fields) != _NUM_FIELDS:
        raise RowError(f"malformed line: {len(fields)} fields instead of {_NUM_FIELDS}")
    try:
        numbers = [float(plain_number(value)) for value in fields[1:11]]
        classes = [int(plain_number(value)) - 1 for value in fields[11:]]
    except ValueError as error:
        raise RowError(f"malformed line: {error}") from error
    if not all(map(math.isfinite, numbers)):
        raise RowError("malformed line: a coordinate is not finite")
    attributes = dict(zip(ATTRIBUTE_CLASSES, classes, strict=True))
    for attribute, value in attributes.items():
        if not 0 <= value < ATTRIBUTE_CLASSES[attribute]:
            raise RowError(f"malformed line: {attribute} {value + 1} is not in 1..{ATTRIBUTE_CLASSES[attribute]}")
    return fields[0].replace("\\", "/"), np.array([numbers[:5], numbers[5:]]).T, attributes
