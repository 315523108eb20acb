"""Interface of all importers: rows of annotations, and the faces that they describe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.sample import Sample
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import KeypointSchema


class Row(NamedTuple):
    """A line of an annotation file or, with line 0, a whole annotation file."""

    file: str
    line: int
    text: str

    @property
    def label(self) -> str:
        """File, line and first word of the row, by which a user finds it."""
        return f"{self.file}:{self.line} {self.text.split(' ')[0][:80]}".rstrip() if self.line else self.file


class RowError(RcnSearchError):
    """A row cannot be imported; the message is the reason."""


def plain_number(text: str) -> str:
    """Return the text of a number, as annotation tools write it, for `float` or `int`.

    Raises:
        ValueError: It has underscores or digits of other scripts, which Python would read: ``1_0`` as 10.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text[:40]!r} is not a number")
    return text


class NamedSplits(NamedTuple):
    """Names of the splits of a data set, which may depend on how many rows could be imported."""

    names: dict[str, str]  # name in the data set for each split of `Importer.read_rows`
    test_splits: dict[str, str]  # DATASET/SUBSET of the splits and unions that are tests, by their name in the data set
    unions: dict[str, list[str]]  # members of each union of splits, by their names in the data set
    notes: list[str]  # warnings for users, such as missing faces


class Importer(ABC):
    """A source of annotated faces at a known location. Derive from it to import a format of your own.

    `import_dataset` calls `read_rows` once, then `read_sample` for each row in threads (or in processes, see
    ``in_processes``, for which the importer must be picklable).


    Example:
        >>> class OneFace(Importer):
        ...     name, keypoints, attributes = "one-face", "five", ()
        ...     source, license, citation = "drawn by hand", "CC0-1.0", "none"
        ...
        ...     def read_rows(self):
        ...         return {"train": [Row("faces.csv", 1, "a.png")], "val": [Row("faces.csv", 2, "b.png")]}
        ...
        ...     def fingerprint(self, rows):
        ...         return "version 1"
        ...
        ...     def read_sample(self, row):
        ...         return Sample(
        ...             image=np.zeros((160, 160), np.uint8),
        ...             points=np.full((5, 2), 80, np.float32),
        ...             visible=np.ones(5, bool),
        ...             box=np.array([0, 0, 160, 160], np.float32),
        ...             face_box=np.array([20, 20, 120, 120], np.float32),
        ...             image_id=row.text,
        ...             group=row.text,
        ...         )
        >>> import numpy as np
        >>> from tempfile import mkdtemp
        >>> from rcn_search.data.importing import import_dataset
        >>> import_dataset(OneFace(), mkdtemp()).manifest.num_rows("train")
        1
    """

    name: str  # of the data set
    keypoints: str  # name of the keypoint schema
    keypoint_schema: KeypointSchema | None = None  # the schema itself, if it is not a built-in one
    crop_px: int = IMAGE_SIZE_PX  # side of the stored crops
    attributes: tuple[str, ...]  # names of those in `Sample.attributes`
    test_splits: Mapping[str, str] = MappingProxyType({})  # DATASET/SUBSET of each split that is a test split
    source: str  # where the faces come from, and what the importer did to them
    license: str  # what the license of the faces permits
    citation: str  # publication to cite
    color: bool = False  # whether crops have red, green and blue channels
    bordered: bool = False  # whether crops may be padded, so that shards store where each photograph ends
    in_processes: bool = False  # whether `read_sample` holds the interpreter lock, so that processes are faster

    @abstractmethod
    def read_rows(self) -> dict[str, list[Row]]:
        """Read the rows of each split, in the order in which they are to be stored.

        Raises:
            DatasetError: The source is missing or unusable.
        """

    @abstractmethod
    def read_sample(self, row: Row) -> Sample:
        """Read the face of one row.

        Raises:
            RowError: The row cannot be imported.
        """

    @abstractmethod
    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash everything that the data set depends on: the annotations, and a version of the importer's rules."""

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Choose the names of the splits, and write notes about incomplete ones, given all rows and those imported."""
        return NamedSplits({split: split for split in rows}, dict(self.test_splits), {}, [])
