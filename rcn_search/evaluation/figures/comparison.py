"""Errors of several methods on the same images. NumPy only.

Array names end in their axes: m methods, n images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures.labels import make_distinct
from rcn_search.evaluation.metrics import Array, image_errors
from rcn_search.evaluation.predictions import Predictions, read_predictions
from rcn_search.evaluation.protocol import EvaluationProtocol, named_protocol


@dataclass(frozen=True, kw_only=True)
class MethodComparison:
    """Prediction files of the same images under one protocol.

    Attributes:
        methods: Distinct names of the methods.
        files: Predictions of each method, in the order of its file.
        row_mn: Row of each image in each file; images have the order of the first.
        error_pct_mn: Error of each image; NaN where an image is excluded for a method.
        group_n: Identity or photograph of each image.
    """

    methods: list[str]
    files: list[Predictions]
    row_mn: NDArray[np.int64]
    error_pct_mn: Array
    group_n: NDArray[np.str_]
    protocol: EvaluationProtocol

    @property
    def title(self) -> str:
        """Name of the images, and the number of them that are included for every method."""
        return f"{self.protocol.dataset} {self.protocol.subset}: {self.num_images:,} images"

    @property
    def num_images(self) -> int:
        """Number of images that are included for every method."""
        return int(np.isfinite(self.error_pct_mn).all(axis=0).sum())

    def errors_by_method(self) -> dict[str, Array]:
        """Return the errors of the images that are included, for each method; their mean is its score."""
        return {
            method: error_pct_n[np.isfinite(error_pct_n)]
            for method, error_pct_n in zip(self.methods, self.error_pct_mn, strict=True)
        }

    def pick_images(self, count: int) -> NDArray[np.int64]:
        """Pick at most ``count`` images that are included for every method, evenly from the easiest to the hardest."""
        mean_pct_n = self.error_pct_mn.mean(axis=0)  # NaN where one method excludes the image
        included_n = np.flatnonzero(np.isfinite(mean_pct_n))
        by_error = included_n[np.argsort(mean_pct_n[included_n], kind="stable")]
        picked: NDArray[np.int64] = by_error[
            np.linspace(0, len(by_error) - 1, min(count, len(by_error))).round().astype(int)
        ]
        return picked

    def find_images(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of images by their ids, in the order given.

        Raises:
            RcnSearchError: There is no image of this id.
        """
        index_of = {str(name): index for index, name in enumerate(self.files[0].image_id)}
        if missing := [name for name in names if name not in index_of]:
            raise RcnSearchError(f"no image {missing[0]!r} among {self.title}; one of them is {next(iter(index_of))!r}")
        return np.array([index_of[name] for name in names], dtype=np.int64)


def compare_methods(uris: Sequence[str], protocol: str) -> MethodComparison:
    """Read prediction files, whose images may be in any order, and compute their errors.

    Raises:
        RcnSearchError: The files are of different images, one is named twice, or they cannot be scored by the protocol.
    """
    if len(set(uris)) < len(uris):
        raise RcnSearchError("a prediction file is named twice; name each of them once")
    files = [read_predictions(uri) for uri in uris]
    first, errors, rows = files[0], [], []
    rule = find_protocol(first, protocol)
    rank_n = np.argsort(np.argsort(first.image_id))
    for uri, read in zip(uris, files, strict=True):
        order_n = np.argsort(read.image_id)
        sorted_n = read.image_id[order_n]
        if _images_of(read) != _images_of(first) or not np.array_equal(np.sort(first.image_id), sorted_n):
            raise RcnSearchError(
                f"the prediction files are of different images: {uris[0]} of {_images_of(first)}, {uri} of "
                f"{_images_of(read)}; evaluate both methods on the same split"
            )
        rows.append(order_n[rank_n])
        errors.append(image_errors(read, rule).error_pct_n[rows[-1]])
    return MethodComparison(
        methods=make_distinct([read.meta["method"] for read in files], uris),
        files=files,
        row_mn=np.stack(rows),
        error_pct_mn=np.stack(errors),
        group_n=first.group,
        protocol=rule,
    )


def _images_of(predictions: Predictions) -> str:
    meta = predictions.meta
    return f"{len(predictions):,} of split {meta['split']} of data {meta['fingerprint']}"


def find_protocol(predictions: Predictions, name: str) -> EvaluationProtocol:
    """Make the protocol of a name for the images and keypoints of predictions.

    ``subpixel`` alone is by the default normalizer of their schema.
    """
    if name == "subpixel":
        name = f"subpixel-{predictions.schema.default_normalizer}"
    keypoints = "ibug49" if name == "rcn2016-49" else predictions.meta["keypoints"]
    return named_protocol(name, predictions.meta["dataset"], predictions.meta["subset"], keypoints)
