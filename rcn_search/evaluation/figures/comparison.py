"""Errors of several methods on the same images, side by side. NumPy only.

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
        methods: M distinct names.
        error_pct_mn: Of each image, in percent; NaN where an image does not count for a method.
        group_n: Identity or photo of each image.
        protocol: What was measured.
    """

    methods: list[str]
    error_pct_mn: Array
    group_n: NDArray[np.str_]
    protocol: EvaluationProtocol

    @property
    def title(self) -> str:
        """Which images, and how many of them count for every method."""
        num_images = int(np.isfinite(self.error_pct_mn).all(axis=0).sum())
        return f"{self.protocol.dataset} {self.protocol.subset}: {num_images:,} images"

    def errors_by_method(self) -> dict[str, Array]:
        """For each method the errors of the images that count for it: what its score is the mean of."""
        return {name: own[np.isfinite(own)] for name, own in zip(self.methods, self.error_pct_mn, strict=True)}


def compare_methods(uris: Sequence[str], protocol: str) -> MethodComparison:
    """Read prediction files and measure them.

    Args:
        uris: Of the files; their images may stand in any order.
        protocol: Its name.

    Raises:
        RcnSearchError: The files are of different images, one is named twice, or the protocol cannot measure them.
    """
    if len(set(uris)) < len(uris):
        raise RcnSearchError("a prediction file is named twice; name each of them once")
    files = [read_predictions(uri) for uri in uris]
    first = files[0]
    rows = []
    asked = find_protocol(first, protocol)
    for uri, read in zip(uris, files, strict=True):
        order = np.argsort(read.image_id)
        place = np.argsort(np.argsort(first.image_id))
        if _images_of(read) != _images_of(first) or not np.array_equal(np.sort(first.image_id), read.image_id[order]):
            raise RcnSearchError(
                f"the prediction files are of different images: {uris[0]} of {_images_of(first)}, {uri} of "
                f"{_images_of(read)}; evaluate both methods on the same split"
            )
        rows.append(image_errors(read, asked).error_pct_n[order][place])
    return MethodComparison(
        methods=make_distinct([read.meta["method"] for read in files], uris),
        error_pct_mn=np.stack(rows),
        group_n=first.group,
        protocol=asked,
    )


def _images_of(read: Predictions) -> str:
    return f"{len(read):,} of split {read.meta['split']} of data {read.meta['fingerprint']}"


def find_protocol(read: Predictions, name: str) -> EvaluationProtocol:
    """The protocol called ``name`` for the images and keypoints of a prediction file."""
    keypoints = "ibug49" if name == "rcn2016-49" else read.meta["keypoints"]
    return named_protocol(name, read.meta["dataset"], read.meta["subset"], keypoints)
