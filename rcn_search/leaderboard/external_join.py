"""Someone's answers joined with the truth of our data set: a prediction file like any of ours, every gap named.

Shape letters: n images of the split, k points.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.crops import crop_to_image
from rcn_search.data.dataset import Split, open_dataset
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import RCN2016_GRID_PX
from rcn_search.leaderboard.formats.base import ExternalPredictions

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class JoinedPredictions:
    """Answers beside the truth.

    Attributes:
        predictions: Of every image of the split; not finite where there was no answer.
        missing: Images of the split without an answer.
        extra: Answers for images that the split does not have.
    """

    predictions: Predictions
    missing: list[str]
    extra: list[str]

    def coverage_warnings(self) -> list[str]:
        """A line for the missing and one for the extra images, if there are any."""
        lines = [
            (self.missing, "images have no answer, so the method has no rank"),
            (self.extra, "answers are for other images"),
        ]
        return [f"{len(names):,} {what}: {_some(names)}" for names, what in lines if names]


def join_ground_truth(
    answers: ExternalPredictions, data_uri: str, split_name: str, *, method: str, run_id: str, pixel_offset: float
) -> JoinedPredictions:
    """Predictions of a split from answers by image.

    An answer belongs to the image of its name; or to the one whose name ends its path, or is ended by it, whole folders
    compared, where there is only one such image.

    Args:
        answers: Points in pixels of the original images.
        data_uri: Whose truth.
        split_name: Of which images.
        method: Name on the leaderboard.
        run_id: Stands for whatever made the answers.
        shift_px: Added to each coordinate. Here pixel i covers i to i + 1.

    Raises:
        DatasetError: The data set is missing or damaged, or has no such split.
        ValueError: No answer is for any image of the split, or an answer has another number of points.
    """
    manifest = open_dataset(data_uri).manifest
    split = open_dataset(data_uri).split(split_name)
    found = _by_image(answers, split.image_id_n.tolist())
    if not found:
        raise ValueError(
            f"none of the {len(answers):,} answers is for an image of {split_name!r}; they are called "
            f"{_some(list(answers))}, those {_some(split.image_id_n.tolist())}"
        )
    num_points = manifest.keypoint_schema.num_points
    image_nk2 = np.full((split.num_rows, num_points, 2), np.nan)
    for row, name in found.items():
        if len(answers[name]) != num_points:
            raise ValueError(
                f"the answer for {name!r} has {len(answers[name])} points; {manifest.keypoints!r} has {num_points}"
            )
        image_nk2[row] = answers[name] + pixel_offset
    used = set(found.values())
    dataset, subset = manifest.dataset_and_subset(split_name)
    meta = {
        "dataset": dataset,
        "subset": subset,
        "split": split_name,
        "fingerprint": manifest.fingerprint,
        "keypoints": manifest.keypoints,
        "grid_px": RCN2016_GRID_PX,
        "run_id": run_id,
        "method": method,
        "shift_px": pixel_offset,
    }
    return JoinedPredictions(
        predictions=_predictions(split, image_nk2, bordered=manifest.bordered, meta=meta),
        missing=[str(name) for row, name in enumerate(split.image_id_n) if row not in found],
        extra=[name for name in answers if name not in used],
    )


def ground_truth_fields(split: Split, *, bordered: bool) -> dict[str, Any]:
    """The fields of `Predictions` that a data set knows."""
    true_crop_nk2 = split.points_nk2.numpy()
    return {
        "image_id": split.image_id_n,
        "group": split.group_n,
        "box": split.box_n4,
        "face_box": split.face_box_n4.numpy(),
        "visible": split.visible_nk.numpy(),
        "true_crop_nk2": true_crop_nk2,
        "true_image_nk2": crop_to_image(true_crop_nk2, split.box_n4),
        "edge_nk": split.edge_nk.numpy() if bordered else None,
        "photo_n4": split.photo_n4.numpy() if bordered else None,
        "attributes": {name: value.numpy().astype(np.int8) for name, value in split.attributes.items()},
    }


def _predictions(
    split: Split, image_nk2: NDArray[np.float64], *, bordered: bool, meta: dict[str, object]
) -> Predictions:
    box_n4, face_box_n4 = split.box_n4.astype(np.float64), split.face_box_n4.numpy().astype(np.float64)
    crop_nk2 = (image_nk2 - box_n4[:, None, :2]) / (box_n4[:, None, 2:] / IMAGE_SIZE_PX)
    cell_nk2 = np.floor((crop_nk2 - face_box_n4[:, None, :2]) / face_box_n4[:, None, 2:3] * RCN2016_GRID_PX)
    # A network's answer is a cell of its input; of an answer from outside the nearest cell is taken.
    cell_nk2 = np.clip(np.nan_to_num(cell_nk2, nan=0.0), 0, RCN2016_GRID_PX - 1)
    return Predictions(
        **ground_truth_fields(split, bordered=bordered),
        pred_crop_nk2=crop_nk2.astype(np.float32),
        pred_image_nk2=image_nk2.astype(np.float32),
        pred_cell_nk2=cell_nk2.astype(np.int16),
        confidence_nk=np.ones(image_nk2.shape[:2], dtype=np.float32),
        meta=meta,
    )


def _by_image(answers: ExternalPredictions, image_ids: list[str]) -> dict[int, str]:
    """Row of the split to the name of its answer."""
    row_of = {name: row for row, name in enumerate(image_ids)}
    found = {row_of[name]: name for name in answers if name in row_of}
    by_file: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for name, row in row_of.items():
        if row not in found:
            folders = _folders(name)
            by_file[folders[-1]].append((row, folders))
    claims: dict[int, list[str]] = defaultdict(list)
    for name in answers:
        if name not in row_of:
            folders = _folders(name)
            fits = [row for row, own in by_file[folders[-1]] if _ends(own, folders)]
            if len(fits) == 1:
                claims[fits[0]].append(name)
    return found | {row: names[0] for row, names in claims.items() if len(names) == 1}


def _folders(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")] or [""]


def _ends(one: list[str], other: list[str]) -> bool:
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
