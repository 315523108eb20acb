"""Splits held in memory, and the order in which an epoch visits them.

On CPU a split is a view of its shards' memory maps, which all processes of the node share; on a GPU it is one tensor.

Shape letters: n rows, b rows of a batch, k points.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rcn_search.data.sample import WHOLE_CROP
from rcn_search.data.shards import DatasetError, Manifest, column, open_shards, read_manifest


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One split, resident.

    Attributes:
        images: uint8 tensors (n_i, 160, 160) or (n_i, 160, 160, 3), one for each shard (one in all on a GPU).
        points_nk2: float32, crop pixels.
        visible_nk: bool.
        face_box_n4: float32 x, y, width, height, crop pixels.
        box_n4: The same of the crop in the original image; NumPy.
        image_id_n: NumPy strings.
        group_n: NumPy strings.
        attributes: int64 classes (n,) by name.
        edge_nk: uint8: 1 left, 2 top, 3 right, 4 bottom for a point at that edge of a photograph that ends inside the
            crop, else 0 (rcn.md 1.5).
        photo_n4: float32 x, y, width, height in crop pixels of what shows the photograph; the rest is black padding.
    """

    images: tuple[Tensor, ...]
    points_nk2: Tensor
    visible_nk: Tensor
    face_box_n4: Tensor
    box_n4: NDArray[np.float32]
    image_id_n: NDArray[np.str_]
    group_n: NDArray[np.str_]
    attributes: dict[str, Tensor]
    edge_nk: Tensor
    photo_n4: Tensor

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.points_nk2)

    def images_at(self, rows: Tensor) -> Tensor:
        """Crops (b, 160, 160) or (b, 160, 160, 3) uint8 of the given rows (b,), in their order."""
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
            edge_nk=self.edge_nk.to(device),
            photo_n4=self.photo_n4.to(device),
        )


def joined_splits(parts: Sequence[Split]) -> Split:
    """Splits on CPU, one after the other; their images stay views."""
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


class ShardedDataset:
    """A data set at a URI. Open one with `open_dataset`, which keeps it for the life of the process."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.manifest: Manifest = read_manifest(uri)
        self._splits: dict[tuple[str, str], Split] = {}
        self._lock = threading.Lock()

    def split(self, name: str, device: str | torch.device = "cpu") -> Split:
        """A split or a union of some, resident on ``device``.

        Raises:
            DatasetError: There is no such split, or one of its shards is damaged.
        """
        if name not in self.manifest.split_names:
            raise DatasetError(f"{self.uri} has no split {name!r}; it has: {', '.join(self.manifest.split_names)}")
        device = torch.device(device)
        members = self.manifest.members_of(name)
        with self._lock:
            for member in members:
                if (member, "cpu") not in self._splits:
                    self._splits[member, "cpu"] = self._load(member)
            if (name, "cpu") not in self._splits:
                self._splits[name, "cpu"] = joined_splits([self._splits[member, "cpu"] for member in members])
            if (name, str(device)) not in self._splits:
                self._splits[name, str(device)] = self._splits[name, "cpu"].to(device)
            return self._splits[name, str(device)]

    def _load(self, name: str) -> Split:
        batches = open_shards(self.uri, self.manifest.splits[name])

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([column(batch, name) for batch in batches])

        def strings(name: str) -> NDArray[np.str_]:
            return np.array([value for batch in batches for value in batch.column(name).to_pylist()], dtype=np.str_)

        num_points = self.manifest.point_schema.num_points
        num_rows = sum(map(len, batches))
        bordered = self.manifest.bordered
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
            edge_nk=torch.from_numpy(joined("edge")) if bordered else torch.zeros(num_rows, num_points).byte(),
            photo_n4=torch.from_numpy(joined("photo")) if bordered else torch.tensor(WHOLE_CROP).repeat(num_rows, 1),
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


# Streams of random numbers of an epoch that do not depend on each other; 0 is that of `augment.draw_table`.
_ORDER_STREAM, _BALANCE_STREAM = 1, 2


def epoch_batches(
    num_rows: int, batch_size: int, *, seed: int, epoch: int, reshuffle: bool = True, rank: int = 0, num_ranks: int = 1
) -> list[Tensor]:
    """Places of each step in its epoch's `epoch_rows`.

    Rank r of N takes every N-th place of each global batch, so the union over ranks is the same for every N. The last
    batch holds what is left.

    Args:
        num_rows: Of an epoch.
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


def epoch_rows(num_rows: int, class_n: Tensor | None, *, seed: int, epoch: int) -> Tensor:
    """Which row of the split each place (n,) of an epoch shows: every row once or, by classes, rare ones more often.

    The expected number of places of a row goes with one over the square root of the size of its class (Mahajan et al.,
    ECCV 2018); how many it has is that number, rounded down or up.

    Args:
        num_rows: Of the split, and of the epoch.
        class_n: Class of each row, from 0; none: no balancing.
        seed: Of the run.
        epoch: From 0.
    """
    if class_n is None:
        return torch.arange(num_rows)
    classes = class_n[:num_rows].cpu().numpy()
    weight = np.bincount(classes)[classes] ** -0.5
    generator = np.random.default_rng([seed, epoch, _BALANCE_STREAM])
    order = generator.permutation(num_rows)
    behind = np.cumsum(weight[order]) * (num_rows / weight.sum())
    places = np.arange(num_rows) + generator.random()
    return torch.from_numpy(order[np.searchsorted(behind, places).clip(max=num_rows - 1)])


def rows_of(manifest: Manifest, split: str, limit: int | None) -> int:
    """How many rows a run uses of a split or union.

    Raises:
        DatasetError: There is no such split, or it has fewer rows than ``limit``.
    """
    available = manifest.num_rows(split)
    if limit is not None and limit > available:
        raise DatasetError(f"{limit:,} rows asked of split {split!r} of {manifest.name!r}, which has {available:,}")
    return available if limit is None else limit
