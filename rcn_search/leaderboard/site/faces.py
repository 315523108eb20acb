"""Worst and median faces of an entry, with true and predicted points, if the user names the images."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.metrics import image_errors
from rcn_search.evaluation.predictions import Predictions
from rcn_search.leaderboard.lookup import find_predictions, hash_prediction_files
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.site.files import write_file

NUM_EACH = 8
Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """One face: path of its picture in the site, its error, and pairs of true and predicted points in its pixels."""

    picture: str
    side_px: int
    error_pct: float
    points: list[tuple[Point, Point]]


NO_FACES = "images are needed; add --faces DATA --predictions FILE to rcn-search leaderboard build-site"


@dataclass
class FaceSource:
    """Data set whose images may be shown, and prediction files by SHA-256 besides those the leaderboard knows."""

    data_uri: str
    predictions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_uris(cls, data_uri: str, predictions: Sequence[str]) -> FaceSource | None:
        """Make a source from a data set and prediction files, or folders of them; None if there are neither."""
        if not data_uri:
            if predictions:
                raise RcnSearchError("--predictions needs --faces DATA: name the data set too")
            return None
        from rcn_search.data.shards import read_manifest

        read_manifest(data_uri)
        return cls(data_uri, hash_prediction_files(predictions))

    def faces_of(self, leaderboard: str, entry: Entry, folder: Path) -> dict[str, list[Face]] | str:
        """Write an entry's faces into ``folder``; return them by title, or the reason why there are none."""
        from rcn_search.data.dataset import open_dataset  # imports torch, which a site without faces does not need

        dataset = open_dataset(self.data_uri)
        if dataset.manifest.fingerprint != entry.fingerprint:
            return "this entry was measured on another data set"
        try:
            predictions = find_predictions(leaderboard, entry, self.predictions)
            if predictions is None:
                return "its predictions are not stored on the leaderboard; name them with --predictions FILE"
            error_pct_n = image_errors(predictions, entry.protocol).error_pct_n
        except RcnSearchError as error:
            return f"its predictions cannot be used: {error}"
        split = dataset.split(predictions.meta["split"])
        if not np.array_equal(split.image_id_n, predictions.image_id):
            return "its predictions are for other images than those of the data set"
        counted_n = np.flatnonzero(np.isfinite(error_pct_n))
        by_error = counted_n[np.argsort(error_pct_n[counted_n], kind="stable")]
        start = max(0, (len(by_error) - NUM_EACH) // 2)
        chosen = {"Worst faces": by_error[::-1][:NUM_EACH], "Median faces": by_error[start : start + NUM_EACH]}
        import torch

        return {
            title: [
                _face(image, predictions, int(row), float(error_pct_n[row]), folder)
                for row, image in zip(rows, split.images_at(torch.from_numpy(rows.copy())).numpy(), strict=True)
            ]
            for title, rows in chosen.items()
        }


def _face(image: NDArray[np.uint8], predictions: Predictions, row: int, error_pct: float, folder: Path) -> Face:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    name = f"faces/{hashlib.sha256(stream.getvalue()).hexdigest()[:16]}.png"
    write_file(folder, name, stream.getvalue())
    pairs = zip(predictions.true_crop_nk2[row].tolist(), predictions.pred_crop_nk2[row].tolist(), strict=True)
    points = [
        ((round(true[0], 1), round(true[1], 1)), (round(pred[0], 1), round(pred[1], 1)))
        for true, pred in pairs
        if np.isfinite([*true, *pred]).all()
    ]
    return Face(name, len(image), error_pct, points)
