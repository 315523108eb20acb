"""Import 300-W (Sagonas et al., ICCV-W 2013): 68 points on faces of afw, helen, lfpw and ibug.

See docs/explanation/model-specification.md, "Data and crops". Any of the six folders may be missing or incomplete; the
rest is imported. A test subset has its published name only if the data set holds all of its published faces.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.crops import STAGE_A_68_RATIO, STAGE_B_68_RATIO, crop_photo, enclosing_box, image_to_crop
from rcn_search.data.importers import pts
from rcn_search.data.importers.base import Importer, NamedSplits, Row, RowError
from rcn_search.data.importers.photo import MAX_IMAGE_PIXELS, open_photo, require_extent, require_inside
from rcn_search.data.photo_borders import edge_codes, photo_rectangle
from rcn_search.data.sample import Sample
from rcn_search.data.shards import DatasetError

PUBLISHED_TRAINING = {"afw": 337, "helen/trainset": 2_000, "lfpw/trainset": 811}
PUBLISHED_TESTS = {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135}
TEST_SPLITS = {"helen/testset": "helen-test", "lfpw/testset": "lfpw-test", "ibug": "ibug"}
UNIONS = {"common": ["helen-test", "lfpw-test"], "challenging": ["ibug"], "full": ["helen-test", "lfpw-test", "ibug"]}
SPLIT_SEED = 7345
VALIDATION_SHARE = 10  # one of this many training faces is used for validation
MIN_PHOTO_SHARE = 0.1
"""Smallest part of a crop that may show the photograph; with less, the points belong to another photograph."""


class W300Importer(Importer):
    """Importer of the folder that holds afw, helen/{trainset,testset}, lfpw/{trainset,testset} and ibug."""

    name = "300w"
    keypoints = "ibug68"
    attributes = ()
    bordered = True
    source = (
        "300-W (afw, helen, lfpw, ibug with 68 points), https://ibug.doc.ic.ac.uk/resources/300-W/; "
        "published coordinates less 1; box of all points x 1.7, padded black"
    )
    license = "non-commercial research only; images are not redistributable"
    citation = (
        "C. Sagonas, G. Tzimiropoulos, S. Zafeiriou, M. Pantic, 300 Faces in-the-Wild Challenge: The first facial "
        "landmark localization challenge, ICCV-W 2013"
    )

    def __init__(self, folder: Path, *, color: bool = False) -> None:
        self.folder, self.color = folder, color

    def read_rows(self) -> dict[str, list[Row]]:
        """Read the rows of the splits that exist, in the order in which they are to be stored."""
        published = {**PUBLISHED_TRAINING, **PUBLISHED_TESTS}
        rows = {folder: pts.read_rows(self.folder, folder) for folder in published}
        if not any(rows.values()):
            raise DatasetError(
                f"{self.folder} holds no .pts file in any of {', '.join(rows)}; the source folder must hold them"
            )
        for folder, num_published in published.items():
            if len(rows[folder]) > num_published:
                raise DatasetError(
                    f"{self.folder / folder} holds {len(rows[folder]):,} .pts files, but {num_published:,} were "
                    "published; remove the others (flipped copies of training faces would leak into validation)"
                )
        splits = split_by_photo([row for folder in PUBLISHED_TRAINING for row in rows[folder]])
        splits |= {split: rows[folder] for folder, split in TEST_SPLITS.items()}
        return {split: members for split, members in splits.items() if members}

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash the annotations and the version of this importer's rules."""
        # "colour" as spelled when the first data sets were imported
        digest = hashlib.sha256(b"300w importer 1, colour" if self.color else b"300w importer 1")
        for split, members in rows.items():
            digest.update("\n".join([split, *(f"{row.file}\n{row.text}" for row in members)]).encode())
        return digest.hexdigest()

    def read_sample(self, row: Row) -> Sample:
        """Crop one face, with black padding where its box leaves the photograph."""
        points_k2 = from_one_based(published_k2 := pts.parse_points(row.text))
        image = open_photo(self.folder, pts.photo_name(self.folder, row))
        require_inside(points_k2, image)
        require_extent(points_k2)
        box = enclosing_box(points_k2, STAGE_A_68_RATIO)
        if box.width * box.height > MAX_IMAGE_PIXELS:
            raise RowError(f"the points span a box of {box.width:,}x{box.height:,} pixels")
        photo = photo_rectangle(box, image.size)
        if photo[2] * photo[3] < MIN_PHOTO_SHARE * IMAGE_SIZE_PX**2:
            raise RowError(f"the points lie far outside their {image.width}x{image.height} image")
        crop_points_k2 = image_to_crop(points_k2, box)
        face_box = enclosing_box(crop_points_k2, STAGE_B_68_RATIO)
        return Sample(
            image=crop_photo(image, box, color=self.color),
            points=crop_points_k2,
            visible=np.ones(len(points_k2), bool),
            box=np.array(box, np.float32),
            face_box=np.array(face_box, np.float32),
            image_id=pts.face_id(row),
            group=pts.photo_id(row),
            edge=edge_codes(published_k2, image.size, box, face_box),
            photo=photo,
        )

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Rename incomplete test splits, form the unions of complete ones, and note every gap."""
        counts = Counter(row.file.rpartition("/")[0] for members in imported.values() for row in members)
        names = {split: split for split in rows}
        for folder, published in PUBLISHED_TESTS.items():
            if TEST_SPLITS[folder] in names and counts[folder] != published:
                names[TEST_SPLITS[folder]] = f"{TEST_SPLITS[folder]}-part"
        stored = set(names.values())
        unions = {union: members for union, members in UNIONS.items() if stored.issuperset(members)}
        tests = [name for split, name in names.items() if split in TEST_SPLITS.values()]
        notes = [
            f"{folder} is {'incomplete' if counts[folder] else 'missing'}: {counts[folder]:,} of {published:,} faces"
            for folder, published in {**PUBLISHED_TRAINING, **PUBLISHED_TESTS}.items()
            if counts[folder] != published
        ]
        if len(unions) < len(UNIONS):
            notes.append(f"no subset {', '.join(sorted(UNIONS.keys() - unions.keys()))}: not all its faces are here")
        return NamedSplits(names, {name: f"300w/{name}" for name in [*tests, *unions]}, unions, notes)


def from_one_based(points_k2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert published coordinates, in which the first pixel is at 1, to ours, in which its center is at 0.5."""
    return points_k2 - 0.5


def split_by_photo(rows: list[Row]) -> dict[str, list[Row]]:
    """Divide the faces into training and validation (a tenth, rounded down), without dividing a photograph.

    The sorted photographs are permuted by NumPy's legacy generator with seed 7345; the paper's code permutes faces in
    the order of the directory, which differs between machines. Validation takes photographs from the end, except those
    with more faces than it still needs. It has at least one photograph if there are two.
    """
    photos: dict[str, list[Row]] = {}
    for row in sorted(rows):
        photos.setdefault(pts.photo_id(row), []).append(row)
    names = sorted(photos)
    order = [names[index] for index in np.random.RandomState(SPLIT_SEED).permutation(len(names)).tolist()]
    num_missing = max(1, len(rows) // VALIDATION_SHARE) if len(names) > 1 else 0
    validation: list[str] = []
    for name in reversed(order):
        if len(photos[name]) <= num_missing:
            validation.append(name)
            num_missing -= len(photos[name])
    chosen = set(validation or order[1:][-1:])
    return {
        "train": [row for name in order if name not in chosen for row in photos[name]],
        "val": [row for name in order if name in chosen for row in photos[name]],
    }
