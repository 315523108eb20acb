"""Training images of a run: those of its data set, or faces that are drawn for it and kept in the cache of the node."""

from __future__ import annotations

from filelock import FileLock

from rcn_search.config.schema import IMAGE_SIZE_PX, TrainConfig
from rcn_search.data.dataset import Dataset, open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError, Manifest
from rcn_search.keypoints import FIVE, IBUG68
from rcn_search.machine import cache_folder, cache_required

DRAWN_SPLIT = "train"


def training_faces(config: TrainConfig, dataset: Dataset) -> tuple[Dataset, str]:
    """Find the data set and the split of the training images; drawn faces are drawn once on each node.

    Raises:
        DatasetError: The points, crops or channels of the data set are not those of drawn faces, or drawn faces lack
            the attribute that training is balanced by.
    """
    drawn = config.data.drawn
    if drawn is None:
        return dataset, config.data.train_split
    _check_drawable(config, dataset.manifest)
    importer = SyntheticImporter(
        schema=dataset.manifest.keypoints,
        num_train=drawn.num_faces,
        num_val=1,
        num_test=1,
        seed=drawn.seed,
        ranges=drawn,
    )
    folder = cache_folder("drawn") / importer.fingerprint(importer.read_rows())
    with cache_required(str(folder)):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            import_dataset(importer, str(folder))
    return open_dataset(str(folder)), DRAWN_SPLIT


def _check_drawable(config: TrainConfig, manifest: Manifest) -> None:
    data = config.data
    known = {schema.name: schema for schema in (FIVE, IBUG68)}
    if known.get(manifest.keypoints) != manifest.keypoint_schema:
        raise DatasetError(f"data.drawn: faces are drawn with five or ibug68 points, not with {manifest.keypoints!r}")
    if manifest.crop_px != IMAGE_SIZE_PX or config.input.color:
        raise DatasetError(
            f"data.drawn: faces are drawn gray and in crops of {IMAGE_SIZE_PX} px, as {data.uri} must be"
        )
    if data.balance_by and data.balance_by not in SyntheticImporter.attributes:
        raise DatasetError(f"data.balance_by: drawn faces have no attribute {data.balance_by!r}")
