"""Load splits of a data set, and choose the order in which an epoch visits their rows.

On the CPU a split is a view of its memory-mapped shards, which all processes of the node share; on a GPU, one tensor.

Shape letters: n rows, b rows of a batch, k points.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.data.shard_content import column, describe_repeated
from rcn_search.data.shards import DatasetError, Manifest, open_shards, read_manifest


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A split in memory."""

    images: tuple[Tensor, ...]  # uint8 (n_i, 160, 160) or (n_i, 160, 160, 3), one for each shard; a single one on a GPU
    points_nk2: Tensor  # float32 x, y in crop pixels
    visible_nk: Tensor  # bool
    face_box_n4: Tensor  # float32 x, y, width, height in crop pixels
    box_n4: NDArray[np.float32]  # float32 x, y, width, height of the crop in the original image (NumPy)
    image_id_n: NDArray[np.str_]  # name of each image (NumPy strings)
    group_n: NDArray[np.str_]  # identity or photograph of each image (NumPy strings)
    attributes: dict[str, Tensor]  # int64 classes (n,) by name
    edge_nk: Tensor  # uint8, as `Sample.edge`
    photo_n4: Tensor  # float32, as `Sample.photo`

    @property
    def num_rows(self) -> int:
        """Number of rows n."""
        return len(self.points_nk2)

    def images_at(self, rows: Tensor) -> Tensor:
        """Return the crops of the given rows (b,), in their order: (b, 160, 160) or (b, 160, 160, 3) uint8."""
        if len(self.images) == 1:
            return self.images[0][rows]
        out = torch.empty((len(rows), *self.images[0].shape[1:]), dtype=torch.uint8)
        start = 0
        for shard in self.images:
            index = torch.nonzero((rows >= start) & (rows < start + len(shard))).squeeze(1)
            out[index] = shard[rows[index] - start]
            start += len(shard)
        return out

    def image_pixel_n(self) -> Tensor:
        """Compute the size of a pixel of the original image in crop pixels: (n,) float32 on the split's device."""
        crop_px = self.images[0].shape[1]
        return torch.from_numpy(crop_px / self.box_n4[:, 2]).to(self.points_nk2.device)

    def to(self, device: torch.device) -> Split:
        """Copy the split to a device; on the CPU return this object itself."""
        if device.type == "cpu":
            return self
        tensors: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        attributes = {name: classes.to(device) for name, classes in self.attributes.items()}
        return replace(self, images=(torch.cat(self.images).to(device),), attributes=attributes, **tensors)


def concatenate_splits(parts: Sequence[Split]) -> Split:
    """Concatenate splits on the CPU; their images remain views of the shards."""
    return Split(
        images=tuple(shard for part in parts for shard in part.images),
        points_nk2=torch.cat([part.points_nk2 for part in parts]),
        visible_nk=torch.cat([part.visible_nk for part in parts]),
        face_box_n4=torch.cat([part.face_box_n4 for part in parts]),
        box_n4=np.concatenate([part.box_n4 for part in parts]),
        image_id_n=np.concatenate([part.image_id_n for part in parts]),
        group_n=np.concatenate([part.group_n for part in parts]),
        attributes={name: torch.cat([part.attributes[name] for part in parts]) for name in parts[0].attributes},
        edge_nk=torch.cat([part.edge_nk for part in parts]),
        photo_n4=torch.cat([part.photo_n4 for part in parts]),
    )


class Dataset:
    """A data set at a URI. Open it with `open_dataset`, which caches it for the lifetime of the process."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.manifest: Manifest = read_manifest(uri)
        self._splits: dict[tuple[str, str], Split] = {}
        self._lock = threading.Lock()

    def split(self, name: str, device: str | torch.device = "cpu") -> Split:
        """Load a split, or a union of splits, to ``device``; ``box_n4`` and the names always stay in main memory.

        Raises:
            DatasetError: The data set has no such split, a shard is missing or damaged, or a face is there twice.
        """
        if name not in self.manifest.split_names:
            raise DatasetError(f"{self.uri} has no split {name!r}; it has: {', '.join(self.manifest.split_names)}")
        device = torch.device(device)
        members = self.manifest.members_of(name)
        with self._lock:
            for member in members:
                if (member, "cpu") not in self._splits:
                    self._splits[member, "cpu"] = self._unique(member, self._load(member))
            if (name, "cpu") not in self._splits:
                parts = [self._splits[member, "cpu"] for member in members]
                self._splits[name, "cpu"] = self._unique(name, concatenate_splits(parts))
            if (name, str(device)) not in self._splits:
                self._splits[name, str(device)] = self._splits[name, "cpu"].to(device)
            return self._splits[name, str(device)]

    def _unique(self, name: str, split: Split) -> Split:
        """Return the split if no face is there twice, which shards and manifest do not show."""
        if repeated := describe_repeated(split.image_id_n.tolist()):
            raise DatasetError(f"the split {name!r} of {self.uri} is damaged: {repeated}. Import the data set again")
        return split

    def _load(self, name: str) -> Split:
        batches = open_shards(self.uri, self.manifest, name)

        def column_of(name: str) -> NDArray[Any]:
            return np.concatenate([column(batch, name) for batch in batches])

        def strings(name: str) -> NDArray[np.str_]:
            return np.array([value for batch in batches for value in batch.column(name).to_pylist()], dtype=np.str_)

        num_points, num_rows = self.manifest.keypoint_schema.num_points, sum(map(len, batches))
        bordered, crop_px = self.manifest.bordered, float(self.manifest.crop_px)
        whole_crop = torch.tensor([0.0, 0.0, crop_px, crop_px])
        return Split(
            images=tuple(_shared_tensor(column(batch, "image")) for batch in batches),
            points_nk2=torch.from_numpy(column_of("points").reshape(-1, num_points, 2)),
            visible_nk=torch.from_numpy(column_of("visible").astype(bool)),
            face_box_n4=torch.from_numpy(column_of("face_box")),
            box_n4=column_of("box"),
            image_id_n=strings("image_id"),
            group_n=strings("group"),
            attributes={
                key: torch.from_numpy(column_of(f"attr_{key}").astype(np.int64)) for key in self.manifest.attributes
            },
            edge_nk=torch.from_numpy(column_of("edge")) if bordered else torch.zeros(num_rows, num_points).byte(),
            photo_n4=torch.from_numpy(column_of("photo")) if bordered else whole_crop.repeat(num_rows, 1),
        )


@lru_cache(maxsize=8)
def open_dataset(uri: str) -> Dataset:
    """Open the data set at a folder or URI, once in each process, so that a reused worker starts its next trial faster.

    Raises:
        DatasetError: There is no complete data set, or this version cannot read it.

    Example:
        >>> from tempfile import mkdtemp
        >>> from rcn_search.data.importing import import_dataset
        >>> from rcn_search.data.importers.synthetic import SyntheticImporter
        >>> uri = mkdtemp()
        >>> _ = import_dataset(SyntheticImporter(num_train=3, num_val=1, num_test=1), uri)
        >>> dataset = open_dataset(uri)
        >>> dataset.manifest.split_names
        ['train', 'val', 'test']
        >>> dataset.split("train").points_nk2.shape
        torch.Size([3, 5, 2])
    """
    return Dataset(uri)


def _shared_tensor(array: NDArray[Any]) -> Tensor:
    """Wrap a read-only memory map in a tensor, to which nothing here ever writes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


# Independent streams of random numbers of an epoch; `augment.random_draws` uses stream 0.
_ORDER_STREAM, _BALANCE_STREAM = 1, 2


def epoch_batches(
    num_rows: int, batch_size: int, *, seed: int, epoch: int, reshuffle: bool = True, rank: int = 0, num_ranks: int = 1
) -> list[Tensor]:
    """Split the rows of an epoch into batches; return the indices into `epoch_rows` for each step of one worker.

    Rank r of N takes every N-th index of each global batch, so the union over all ranks does not depend on N. The last
    batch may be smaller. Epochs count from 0; without ``reshuffle`` all have the stored order.
    """
    generator = np.random.default_rng([seed, epoch, _ORDER_STREAM])
    order = generator.permutation(num_rows) if reshuffle else np.arange(num_rows)
    return [torch.from_numpy(order[i : i + batch_size][rank::num_ranks]) for i in range(0, num_rows, batch_size)]


def epoch_rows(num_rows: int, class_n: Tensor | None, *, seed: int, epoch: int) -> Tensor:
    """Choose the rows (n,) of the split that an epoch (from 0) shows: each row once, or rare classes more often.

    With classes, the expected number of times that a row is shown is inversely proportional to the square root of the
    size of its class (Mahajan et al., ECCV 2018); the actual number is this one, rounded down or up.
    """
    if class_n is None:
        return torch.arange(num_rows)
    classes = class_n[:num_rows].cpu().numpy()
    weight = np.bincount(classes)[classes] ** -0.5
    generator = np.random.default_rng([seed, epoch, _BALANCE_STREAM])
    order = generator.permutation(num_rows)
    cumulative = np.cumsum(weight[order]) * (num_rows / weight.sum())
    positions = np.arange(num_rows) + generator.random()  # systematic sampling
    return torch.from_numpy(order[np.searchsorted(cumulative, positions).clip(max=num_rows - 1)])


def num_rows_used(manifest: Manifest, split: str, limit: int | None) -> int:
    """Number of rows that a run uses of a split or union: ``limit``, or all of them.

    Raises:
        DatasetError: The data set has no such split, or the split has fewer rows than ``limit``.
    """
    available = manifest.num_rows(split)
    if limit is not None and limit > available:
        raise DatasetError(
            f"the configuration asks for {limit:,} rows of the split {split!r} of {manifest.name!r}, which has "
            f"{available:,}; lower data.num_train or data.num_val"
        )
    return available if limit is None else limit
