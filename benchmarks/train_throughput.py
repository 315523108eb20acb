"""Training images per second of RCN-6: the real loop, against the bare step and against the common way.

    bare     forward, backward and step on one ready batch: the limit of any input pipeline
    ours     the training loop's step: rows, augmentation, contrast normalization, then all of the above
    common   the network as the paper draws it, with upsampling and concatenation, in fp32 and NCHW; a DataLoader whose
             workers warp, occlude and normalize each image with OpenCV

The three take turns in one process, so that a change in the load of the machine touches all of them; ratios are
medians over the rounds. The last line is JSON.

    python benchmarks/train_throughput.py [--data URI] [--batch 64] [--device cpu] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rcn_search.config.schema import TrainConfig
from rcn_search.data.augment import random_draws
from rcn_search.data.contrast_normalization import KERNEL_PX, SIGMA_PX
from rcn_search.data.dataset import Split, epoch_batches, open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.models import build_model
from rcn_search.models.blocks import Recombination, upsample
from rcn_search.training.compute_probe import choose_settings
from rcn_search.training.loss import spatial_nll
from rcn_search.training.memory import keep_freed_memory_in_process
from rcn_search.training.state import TrainState

SIZE_PX = 80


class PerImage(Dataset[tuple[Tensor, Tensor]]):
    """One face at a time, by OpenCV: the way most training code for landmarks is written."""

    def __init__(self, split: Split, config: TrainConfig) -> None:
        self.augment = config.augment
        self.images = np.concatenate([image.numpy() for image in split.images])
        self.points, self.boxes = split.points_nk2.numpy().copy(), split.face_box_n4.numpy().copy()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        rng, options = np.random.default_rng(), self.augment
        x, y, width, _ = self.boxes[row]
        side = width * (1 + options.scale * rng.uniform(-1, 1))
        center = np.array([x, y]) + width / 2 + width * options.translate * rng.uniform(-1, 1, 2)
        warp = cv2.getRotationMatrix2D(tuple(center), options.rotate_deg * rng.uniform(-1, 1), SIZE_PX / side)
        warp[:, 2] += SIZE_PX / 2 - center
        image = cv2.warpAffine(self.images[row], warp, (SIZE_PX, SIZE_PX)).astype(np.float32)
        points = self.points[row] @ warp[:, :2].T + warp[:, 2]
        height, length = rng.integers(options.occluder.min_px, options.occluder.max_px + 1, 2)
        top, left = rng.integers(0, SIZE_PX - height + 1), rng.integers(0, SIZE_PX - length + 1)
        image[top : top + height, left : left + length] = 0
        blur = lambda value: cv2.GaussianBlur(  # noqa: E731
            value, (KERNEL_PX, KERNEL_PX), SIGMA_PX, borderType=cv2.BORDER_CONSTANT
        )
        centered = image - blur(image)
        deviation = np.sqrt(np.maximum(blur(centered**2), 0))
        normalized = (centered / np.maximum(deviation, deviation.mean()) + 2.5) / 5
        return torch.from_numpy(normalized[None]), torch.from_numpy((points / SIZE_PX).astype(np.float32))


def ours(state: TrainState, batch: int) -> Callable[[], None]:
    """The step of the training loop, over epochs of the split."""

    def rows() -> Iterator[tuple[Tensor, Tensor]]:
        epoch = 0
        while True:
            draws = random_draws(state.split.num_rows, seed=0, epoch=epoch).to(state.settings.device)
            for rows_b in epoch_batches(state.split.num_rows, batch, seed=0, epoch=epoch):
                if len(rows_b) == batch:
                    rows_b = rows_b.to(state.settings.device)
                    yield rows_b, draws[rows_b]
            epoch += 1

    stream = rows()

    def step() -> None:
        state.num_steps_done = 0
        state.train_step(*next(stream))

    return step


def bare(state: TrainState, batch: int) -> Callable[[], None]:
    """Forward, backward and step on one ready batch, with the same settings and optimizer."""
    device, network = state.settings.device, state.network
    image_b1hw = torch.rand(batch, 1, SIZE_PX, SIZE_PX, device=device)
    points_bk2 = torch.rand(batch, 5, 2, device=device)

    def step() -> None:
        with state.settings.autocast():
            logits = network(image_b1hw)
        spatial_nll(logits, points_bk2).backward()
        for optimizer in state.optimizers:
            optimizer.step()
        network.zero_grad()

    return step


def common(config: TrainConfig, split: Split, batch: int, device: str, num_workers: int) -> Callable[[], None]:
    """The network with concatenations, in fp32 and NCHW, fed by a DataLoader."""
    network = build_model(config.model, num_points=5).to(device)
    for module in network.modules():
        if isinstance(module, Recombination):  # any other function than `upsample` chooses the plain form
            module.upsampling = lambda maps_bchw, side_px: upsample(maps_bchw, side_px)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loader = DataLoader(
        PerImage(split, config),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        multiprocessing_context="spawn" if num_workers else None,
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    stream = batches()

    def step() -> None:
        image_b1hw, points_bk2 = (value.to(device) for value in next(stream))
        index_bk = (points_bk2.clamp(0, 0.99999) * SIZE_PX).long()
        logits = network(image_b1hw).flatten(2).flatten(0, 1)
        loss = F.cross_entropy(logits, (index_bk[..., 1] * SIZE_PX + index_bk[..., 0]).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def images_per_s(step: Callable[[], None], batch: int, steps: int, device: str) -> float:
    """Of a few steps."""
    started = time.perf_counter()
    for _ in range(steps):
        step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return batch * steps / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="data set; by default drawn faces")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; by default measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="of each kind in a round")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        uri = options.data or str(Path(folder) / "faces")
        if not options.data:
            import_dataset(SyntheticImporter(num_train=max(512, 4 * options.batch), num_val=1, num_test=1), uri)
        config = TrainConfig.model_validate(
            {
                "data": {"uri": uri},
                "schedule": {"batch_size": options.batch},
                "compute": {"device": options.device, "threads": options.threads or "auto"},
            }
        )
        dataset = open_dataset(uri)
        settings = choose_settings(config, 5)
        torch.set_num_threads(settings.threads)
        keep_freed_memory_in_process()
        split = dataset.split("train", options.device)
        state = TrainState(config, split, dataset.manifest.keypoint_schema, settings, num_steps=1)
        kinds = {"bare": bare(state, options.batch), "ours": ours(state, options.batch)}
        for num_workers in (0, settings.threads):
            kinds[f"common, {num_workers} workers"] = common(
                config, dataset.split("train"), options.batch, options.device, num_workers
            )
        print(f"{settings}, batch {options.batch}, torch {torch.__version__}", flush=True)
        speeds: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(options.rounds + 1):
            for name, step in kinds.items():
                speed = images_per_s(step, options.batch, options.steps, options.device)
                if turn:  # the first round warms up
                    speeds[name].append(speed)
            if turn:
                print("  ".join(f"{name} {values[-1]:8.1f}" for name, values in speeds.items()), flush=True)
    best_common = max((name for name in kinds if name.startswith("common")), key=lambda n: statistics.median(speeds[n]))
    ratio = lambda name: statistics.median(  # noqa: E731
        mine / other for mine, other in zip(speeds["ours"], speeds[name], strict=True)
    )
    print(f"images/s, medians: {', '.join(f'{name} {statistics.median(v):.0f}' for name, v in speeds.items())}")
    print(
        json.dumps(
            {
                "img_s": round(statistics.median(speeds["ours"]), 1),
                "vs_bare": round(ratio("bare"), 3),
                "vs_common": round(ratio(best_common), 2),
                "common": best_common,
                "device": options.device,
                "batch": options.batch,
                "threads": settings.threads,
            }
        )
    )


if __name__ == "__main__":
    main()
