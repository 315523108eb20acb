"""The truth of a drawn data set, as another system would write it."""

from __future__ import annotations

import numpy as np
import pytest

from rcn_search.data.crops import crop_to_image
from rcn_search.data.dataset import open_dataset
from rcn_search.leaderboard.external.faces import ExternalPredictions


@pytest.fixture(scope="session")
def truth(synthetic_uri: str) -> ExternalPredictions:
    """Image name to the true points of the test split, in pixels of the original image."""
    dataset = open_dataset(synthetic_uri)
    split = dataset.split("test")
    points_nk2 = crop_to_image(split.points_nk2.numpy(), split.box_n4, dataset.manifest.crop_px)
    return dict(zip(split.image_id_n.tolist(), points_nk2.astype(np.float64), strict=True))
