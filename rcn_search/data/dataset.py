"""Splits held in memory, and the order in which an epoch visits them.

On CPU a split is a view of its shards' memory maps, which all processes of the node share; on a GPU it is one tensor.

Shape letters: n rows, b rows of a batch, k points.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.data.shards import DatasetError, Manifest, column, open_shard, read_manifest


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One split, resident.

    Attributes:
        images: uint8 tensors (n_i, 160, 160), one for each shard (one in all on a GPU).
        points_nk2: float32, crop pixels.
        visible_nk: bool.
        face_box_n4: float32 x, y, width, height, crop pixels.
        box_n4: The same of the crop in the original image; NumPy.
        image_id_n: NumPy strings.
        group_n: NumPy strings.
        attributes: int64 classes (n,) by name.
    """

    images: tuple[Tensor, ...]
    points_nk2: Tensor
    visible_nk: Tensor
    face_box_n4: Tensor
    box_n4: NDArray[np.float32]
    image_id_n: NDArray[np.str_]
    group_n: NDArray[np.str_]
    attributes: dict[str, Tensor]

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.points_nk2)

    def images_at(self, rows: Tensor) -> Tensor:
        """Crops (b, 160, 160) uint8 of the given rows (b,), in their order."""
        if len(self.images) == 1:
            return self.images[0][rows]
        out = torch.empty((len(rows), *self.images[0].shape[1:]), dtype=torch.uint8)
        start = 0
        for shard in self.images:
            place = torch.nonzero((rows >= start) & (rows < start + len(shard))).squeeze(1)
            out[place] = shard[rows[place] - start]
            start += len(shard)
        return out

    def to(self, device: torch.device) -> Split:
        """The same split on a device; on CPU this very object."""
        if device.type == "cpu":
            return self
        return Split(
            images=(torch.cat(self.images).to(device),),
            points_nk2=self.points_nk2.to(device),
            visible_nk=self.visible_nk.to(device),
            face_box_n4=self.face_box_n4.to(device),
            box_n4=self.box_n4,
            image_id_n=self.image_id_n,
            group_n=self.group_n,
            attributes={name: value.to(device) for name, value in self.attributes.items()},
        )


class ShardedDataset:
    """A data set at a URI. Open one with `open_dataset`, which keeps it for the life of the process."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.manifest: Manifest = read_manifest(uri)
        self._splits: dict[tuple[str, str], Split] = {}
        self._lock = threading.Lock()

    def split(self, name: str, device: str | torch.device = "cpu") -> Split:
        """A split, resident on ``device``.

        Raises:
            DatasetError: There is no such split, or one of its shards is damaged.
        """
        if name not in self.manifest.splits:
            raise DatasetError(f"{self.uri} has no split {name!r}; it has: {', '.join(self.manifest.splits)}")
        device = torch.device(device)
        with self._lock:
            if (name, "cpu") not in self._splits:
                self._splits[name, "cpu"] = self._load(name)
            if (name, str(device)) not in self._splits:
                self._splits[name, str(device)] = self._splits[name, "cpu"].to(device)
            return self._splits[name, str(device)]

    def _load(self, name: str) -> Split:
        batches = [open_shard(self.uri, shard) for shard in self.manifest.splits[name]]

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([column(batch, name) for batch in batches])

        def strings(name: str) -> NDArray[np.str_]:
            return np.array([value for batch in batches for value in batch.column(name).to_pylist()], dtype=np.str_)

        num_points = self.manifest.point_schema.num_points
        return Split(
            images=tuple(_shared_tensor(column(batch, "image")) for batch in batches),
            points_nk2=torch.from_numpy(joined("points").reshape(-1, num_points, 2)),
            visible_nk=torch.from_numpy(joined("visible").astype(bool)),
            face_box_n4=torch.from_numpy(joined("face_box")),
            box_n4=joined("box"),
            image_id_n=strings("image_id"),
            group_n=strings("group"),
            attributes={
                key: torch.from_numpy(joined(f"attr_{key}").astype(np.int64)) for key in self.manifest.attributes
            },
        )


@lru_cache(maxsize=8)
def open_dataset(uri: str) -> ShardedDataset:
    """The data set at ``uri``, opened once in each process: a reused worker starts its next trial at once."""
    return ShardedDataset(uri)


def _shared_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor over a read-only memory map; nothing here ever writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


_ORDER_STREAM = 1  # keeps the order independent of the draws of `augment.draw_table`, which are stream 0


def epoch_batches(
    num_rows: int, batch_size: int, *, seed: int, epoch: int, reshuffle: bool = True, rank: int = 0, num_ranks: int = 1
) -> list[Tensor]:
    """Row indices of each step of an epoch.

    Rank r of N takes every N-th row of each global batch, so the union over ranks is the same for every N. The last
    batch holds what is left.

    Args:
        num_rows: Rows of the split.
        batch_size: Of the global batch.
        seed: Of the run.
        epoch: From 0.
        reshuffle: A new order each epoch; else the stored order always.
        rank: This worker.
        num_ranks: All workers.
    """
    if reshuffle:
        order = np.random.default_rng([seed, epoch, _ORDER_STREAM]).permutation(num_rows)
    else:
        order = np.arange(num_rows)
    return [torch.from_numpy(order[i : i + batch_size][rank::num_ranks]) for i in range(0, num_rows, batch_size)]


def rows_of(manifest: Manifest, split: str, limit: int | None) -> int:
    """How many rows a run uses of a split."""
    if split not in manifest.splits:
        raise DatasetError(
            f"the data set {manifest.name!r} has no split {split!r}; it has: {', '.join(manifest.splits)}"
        )
    available = manifest.num_rows(split)
    if limit is not None and limit > available:
        raise DatasetError(f"{limit:,} rows asked of split {split!r} of {manifest.name!r}, which has {available:,}")
    return available if limit is None else limit
