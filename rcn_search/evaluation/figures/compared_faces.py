"""The same faces by several methods, one row for each, as in Figures 3 and 5 to 7 of Honari et al. 2016."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rcn_search.data.dataset import Dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures.comparison import MethodComparison
from rcn_search.evaluation.figures.faces import draw_faces

_NUM_COLUMNS = 8
"""Columns of the picture of one method."""


def draw_compared_faces(compared: MethodComparison, dataset: Dataset, shown: NDArray[np.int64], uri: str) -> None:
    """Draw the images of the indices ``shown``; the faces of one method fill a grid, several methods have a row each.

    The error of each face stands in its corner, the mean error of each method over all images at the left of its row.

    Raises:
        RcnSearchError: The predictions were made from another data set.
    """
    first = compared.files[0]
    if dataset.manifest.fingerprint != first.meta["fingerprint"]:
        raise RcnSearchError(
            f"the predictions were made from data {first.meta['fingerprint']}; {dataset.uri} is "
            f"{dataset.manifest.fingerprint}. Name the data set that was evaluated with --data"
        )
    num_methods = len(compared.methods)
    split = dataset.split(first.meta["split"])
    row_of = {name: row for row, name in enumerate(split.image_id_n.tolist())}
    rows = torch.tensor([row_of[name] for name in first.image_id[shown].tolist()])
    image_nhw = split.images_at(rows).numpy()
    mean_pct = {name: float(error_pct_n.mean()) for name, error_pct_n in compared.errors_by_method().items()}
    draw_faces(
        np.concatenate([image_nhw] * num_methods),
        np.concatenate([first.true_crop_nk2[shown]] * num_methods),
        np.concatenate(
            [read.pred_crop_nk2[row_n[shown]] for read, row_n in zip(compared.files, compared.row_mn, strict=True)]
        ),
        uri,
        dataset.manifest.keypoint_schema,
        captions=[f"{error_pct:.1f} %" for error_pct in compared.error_pct_mn[:, shown].ravel()],
        num_columns=len(shown)
        if num_methods > 1
        else min(_NUM_COLUMNS, len(shown))
        if len(shown) > _NUM_COLUMNS
        else None,
        row_titles=[f"{name}: {mean:.2f} %" for name, mean in mean_pct.items()] if num_methods > 1 else None,
    )
