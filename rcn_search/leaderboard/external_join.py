"""Join predictions of another system with the ground truth of a data set: a prediction file like any of ours."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.dataset import Split, open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predict_split import ground_truth_fields, split_metadata
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import RCN2016_GRID_PX
from rcn_search.leaderboard.formats import ExternalPredictions

_MAX_NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class JoinedPredictions:
    """Predictions with ground truth for every image of the split; not finite for its ``missing`` images.

    ``extra`` names the predictions for images that the split does not have.
    """

    predictions: Predictions
    missing: list[str]
    extra: list[str]

    def coverage_warnings(self) -> list[str]:
        """List a line for the missing and one for the extra images, if there are any."""
        lines = [
            (self.missing, "images have no prediction, so the method gets no rank"),
            (self.extra, "predictions are for images outside the split"),
        ]
        return [f"{len(names):,} {text}: {_abbreviate(names)}" for names, text in lines if names]


def join_ground_truth(
    external: ExternalPredictions, data_uri: str, split_name: str, *, method: str, run_id: str, pixel_offset: float
) -> JoinedPredictions:
    """Join points by image name with the rows of a split.

    A prediction belongs to the image of the same name. Otherwise it belongs to the image whose path ends with its path,
    or the other way round, compared by whole folder names, if there is exactly one such image.
    ``pixel_offset`` is added to each coordinate: here pixel i covers i to i + 1. ``run_id`` names the file.
    `RcnSearchError` if no prediction is for an image of the split, or one has another number of points.
    """
    dataset = open_dataset(data_uri)
    manifest, split = dataset.manifest, dataset.split(split_name)
    name_of_row = _match_images(external, split.image_id_n.tolist())
    if not name_of_row:
        raise RcnSearchError(
            f"none of the {len(external):,} predictions is for an image of split {split_name!r}; predictions are "
            f"named {_abbreviate(list(external))}; images are named {_abbreviate(split.image_id_n.tolist())}"
        )
    num_points = manifest.keypoint_schema.num_points
    image_nk2 = np.full((split.num_rows, num_points, 2), np.nan)
    for row, name in name_of_row.items():
        if len(external[name]) != num_points:
            raise RcnSearchError(
                f"the prediction for {name!r} has {len(external[name])} points; {manifest.keypoints!r} has {num_points}"
            )
        image_nk2[row] = external[name] + pixel_offset
    matched = set(name_of_row.values())
    meta = {"grid_px": RCN2016_GRID_PX, "run_id": run_id, "method": method, "shift_px": pixel_offset}
    return JoinedPredictions(
        predictions=_predictions(
            split, image_nk2, bordered=manifest.bordered, meta=split_metadata(manifest, split_name) | meta
        ),
        missing=[str(name) for row, name in enumerate(split.image_id_n) if row not in name_of_row],
        extra=[name for name in external if name not in matched],
    )


def _predictions(
    split: Split, image_nk2: NDArray[np.float64], *, bordered: bool, meta: dict[str, object]
) -> Predictions:
    box_n4, face_box_n4 = split.box_n4.astype(np.float64), split.face_box_n4.numpy().astype(np.float64)
    crop_nk2 = (image_nk2 - box_n4[:, None, :2]) / (box_n4[:, None, 2:] / IMAGE_SIZE_PX)
    cell_nk2 = np.floor((crop_nk2 - face_box_n4[:, None, :2]) / face_box_n4[:, None, 2:3] * RCN2016_GRID_PX)
    # A network predicts a cell of its input, so a point outside the input becomes the nearest cell.
    cell_nk2 = np.clip(np.nan_to_num(cell_nk2, nan=0.0), 0, RCN2016_GRID_PX - 1)
    return Predictions(
        **ground_truth_fields(split, bordered=bordered),
        pred_crop_nk2=crop_nk2.astype(np.float32),
        pred_image_nk2=image_nk2.astype(np.float32),
        pred_cell_nk2=cell_nk2.astype(np.int16),
        confidence_nk=np.ones(image_nk2.shape[:2], dtype=np.float32),
        meta=meta,
    )


def _match_images(external: ExternalPredictions, image_ids: list[str]) -> dict[int, str]:
    """Map each row of the split to the name of its prediction."""
    row_of_image = {name: row for row, name in enumerate(image_ids)}
    exact = {row_of_image[name]: name for name in external if name in row_of_image}
    by_file_name: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for name, row in row_of_image.items():
        if row not in exact:
            parts = _path_parts(name)
            by_file_name[parts[-1]].append((row, parts))
    candidates: dict[int, list[str]] = defaultdict(list)
    for name in external:
        if name not in row_of_image:
            parts = _path_parts(name)
            rows = [row for row, image_parts in by_file_name[parts[-1]] if _is_suffix(image_parts, parts)]
            if len(rows) == 1:
                candidates[rows[0]].append(name)
    return exact | {row: names[0] for row, names in candidates.items() if len(names) == 1}


def _path_parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")] or [""]


def _is_suffix(first: list[str], second: list[str]) -> bool:
    """Whether one path is the end of the other."""
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]


def _abbreviate(names: list[str]) -> str:
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + (", …" if len(names) > _MAX_NAMES_SHOWN else "")
