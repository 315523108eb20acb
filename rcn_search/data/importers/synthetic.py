"""Import generated faces: the same seed gives the same shards everywhere."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from rcn_search.config.drawing import DrawingConfig
from rcn_search.config.schema import IMAGE_SIZE_PX, canonical_hash
from rcn_search.data.crops import STAGE_B_68_RATIO, STAGE_B_RATIO, enclosing_box, four_point_box
from rcn_search.data.importers.base import Importer, Row, RowError
from rcn_search.data.sample import Sample
from rcn_search.data.shards import DatasetError
from rcn_search.data.synthetic import draw_face
from rcn_search.data.synthetic.traits import USUAL
from rcn_search.keypoints import FIVE, keypoint_schema

DRAWING_VERSION = 2  # version of `draw_face` and its labels; increase it whenever one of them changes


class SyntheticImporter(Importer):
    """Importer of faces that are drawn from seeds; each face belongs to one split."""

    name = "synthetic"
    attributes = ("gender", "smile", "glasses", "pose", "skin")
    test_splits = MappingProxyType({"test": "synthetic/test"})
    license = "Apache-2.0"
    citation = "rcn-search"
    in_processes = True

    def __init__(
        self,
        *,
        schema: str = "five",
        num_train: int,
        num_val: int,
        num_test: int,
        seed: int = 0,
        ranges: DrawingConfig = USUAL,
    ) -> None:
        """Choose the number of faces in each split, their keypoint schema, ``five`` or ``ibug68``, seed and ranges."""
        self.ranges = DrawingConfig.model_validate(ranges.model_dump(include=set(DrawingConfig.model_fields)))
        changed = [f"{key} {value}" for key, value in self.ranges.model_dump(exclude_defaults=True).items()]
        self.source = ", ".join([f"drawn by rcn-search (generator {DRAWING_VERSION})", *changed])
        self.keypoints = keypoint_schema(schema).name
        self.counts = {"train": num_train, "val": num_val, "test": num_test}
        self.seed = seed
        if min(self.counts.values()) < 1:
            raise DatasetError(f"every split needs at least one face: {self.counts}")

    def read_rows(self) -> dict[str, list[Row]]:
        """Number the faces through all splits, one row for each."""
        rows, first = {}, 0
        for split, count in self.counts.items():
            rows[split] = [Row(split, number, f"{self.seed}-{number:07d}") for number in range(first, first + count)]
            first += count
        return rows

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash everything that the faces depend on."""
        return canonical_hash([DRAWING_VERSION, self.keypoints, self.seed, self.counts, self.ranges.model_dump()])

    def read_sample(self, row: Row) -> Sample:
        """Draw one face."""
        seed = int(np.random.SeedSequence([self.seed, row.line]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        face = draw_face(seed, keypoint_schema(self.keypoints), self.ranges)
        try:
            face_box = (
                four_point_box(face.points, (IMAGE_SIZE_PX, IMAGE_SIZE_PX), STAGE_B_RATIO)
                if self.keypoints == FIVE.name
                else enclosing_box(face.points, STAGE_B_68_RATIO)
            )
        except ValueError as error:
            raise RowError(str(error)) from error
        return Sample(
            image=face.image,
            points=face.points,
            visible=face.visible,
            box=np.array([0, 0, IMAGE_SIZE_PX, IMAGE_SIZE_PX], np.float32),
            face_box=np.array(face_box, np.float32),
            image_id=row.text,
            group=row.text,
            attributes={**face.attributes, "skin": face.skin},
        )
