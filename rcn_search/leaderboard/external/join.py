"""Join predictions of another system with the ground truth of a data set: a prediction file like any of ours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.dataset import Dataset, Split
from rcn_search.data.shards import Manifest
from rcn_search.errors import RcnSearchError, list_first
from rcn_search.evaluation.predict_split import ground_truth_fields, split_metadata
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import RCN2016_GRID_PX
from rcn_search.leaderboard.external.faces import ExternalPredictions
from rcn_search.leaderboard.external.matching import match_images


@dataclass(frozen=True, kw_only=True)
class JoinedPredictions:
    """Predictions with ground truth for every image of the split; not finite where there are none.

    Attributes:
        missing: Images of the split without a prediction.
        incomplete: Images of the split with a prediction for some points only, or for none.
        extra: Names of the predictions for images that the split does not have.
    """

    predictions: Predictions
    missing: list[str]
    incomplete: list[str]
    extra: list[str]

    def coverage_notes(self) -> list[str]:
        """List a line for each kind of images that are not joined or not whole, with their number and ten names."""
        notes = [
            ("images without a prediction", self.missing),
            ("images of which points have no prediction", self.incomplete),
            ("predictions for images that the split does not have", self.extra),
        ]
        return [f"{text}: {len(names):,} ({list_first(names)})" for text, names in notes if names]


def join_ground_truth(
    external: ExternalPredictions, dataset: Dataset, split_name: str, *, method: str, run_id: str, pixel_offset: float
) -> JoinedPredictions:
    """Join points by image name (`match_images`) with the rows of a split.

    ``pixel_offset`` is added to each coordinate: here pixel i covers i to i + 1. ``run_id`` names the file.

    Raises:
        RcnSearchError: No prediction is for an image of the split.
    """
    manifest, split = dataset.manifest, dataset.split(split_name)
    image_ids = split.image_id_n.tolist()
    name_of_row = match_images(external, image_ids)
    if not name_of_row:
        raise RcnSearchError(
            f"none of the {len(external):,} predictions is for an image of split {split_name!r}; predictions are "
            f"named {list_first(list(external))}; images are named {list_first(image_ids)}"
        )
    image_nk2 = np.full((split.num_rows, manifest.keypoint_schema.num_points, 2), np.nan)
    for row, name in name_of_row.items():
        image_nk2[row] = external[name] + pixel_offset
    matched = set(name_of_row.values())
    meta = {"grid_px": RCN2016_GRID_PX, "run_id": run_id, "method": method, "shift_px": pixel_offset}
    return JoinedPredictions(
        predictions=_predictions(split, manifest, image_nk2, meta=split_metadata(manifest, split_name) | meta),
        missing=[name for row, name in enumerate(image_ids) if row not in name_of_row],
        incomplete=[image_ids[row] for row in sorted(name_of_row) if not np.isfinite(image_nk2[row]).all()],
        extra=[name for name in external if name not in matched],
    )


def _predictions(
    split: Split, manifest: Manifest, image_nk2: NDArray[np.float64], *, meta: dict[str, object]
) -> Predictions:
    box_n4, face_box_n4 = split.box_n4.astype(np.float64), split.face_box_n4.numpy().astype(np.float64)
    crop_nk2 = (image_nk2 - box_n4[:, None, :2]) / (box_n4[:, None, 2:] / manifest.crop_px)
    cell_nk2 = np.floor((crop_nk2 - face_box_n4[:, None, :2]) / face_box_n4[:, None, 2:3] * RCN2016_GRID_PX)
    # A network predicts a cell of its input, so a point outside the input becomes the nearest cell.
    cell_nk2 = np.clip(np.nan_to_num(cell_nk2, nan=0.0), 0, RCN2016_GRID_PX - 1)
    return Predictions(
        **ground_truth_fields(split, manifest),
        pred_crop_nk2=crop_nk2.astype(np.float32),
        pred_image_nk2=image_nk2.astype(np.float32),
        pred_cell_nk2=cell_nk2.astype(np.int16),
        confidence_nk=np.ones(image_nk2.shape[:2], dtype=np.float32),
        meta=meta,
    )
