"""Error of checkpoints on the validation images, plain and made harder: something to choose by without the test set.

Each copy is made by a fixed seed, so that checkpoints can be compared on the same images. Errors are those of
`rcn2016`, in percent of the eye distance; ``profile`` and ``half profile`` are the plain images of these poses.

    python benchmarks/hard_validation.py runs/a/best.safetensors runs/b/best.safetensors --data data/mtfl
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from rcn_search.config import AugmentConfig, OccluderConfig
from rcn_search.data.augment import NO_JITTER
from rcn_search.data.dataset import Split, open_dataset
from rcn_search.training.checkpoint import load_network
from rcn_search.training.validation import Validator

COARSE = 4
PROFILE, HALF_PROFILE = (0, 4), (1, 3)
"""Codes of MTFL's pose attribute."""


def coarse(split: Split) -> Split:
    """The same faces at a quarter of the resolution, blown up again."""
    images = torch.cat(split.images)[:, None].float()
    blurred = F.interpolate(F.avg_pool2d(images, COARSE), scale_factor=COARSE, mode="bilinear")
    return replace(split, images=(blurred[:, 0].round().clamp(0, 255).byte(),))


def of_pose(split: Split, codes: tuple[int, int]) -> Split:
    """Only the faces of these poses."""
    rows = torch.nonzero((split.attributes["pose"] == codes[0]) | (split.attributes["pose"] == codes[1])).squeeze(1)
    return replace(
        split, images=(split.images_at(rows),), points_nk2=split.points_nk2[rows], face_box_n4=split.face_box_n4[rows]
    )


def jittered(**ranges: float) -> AugmentConfig:
    """Ranges of a copy, nothing else moved."""
    return NO_JITTER.model_copy(update=ranges)


def copies(split: Split) -> dict[str, tuple[AugmentConfig, Split]]:
    """Name, jitter and images of each copy."""
    return {
        "plain": (NO_JITTER, split),
        "profile": (NO_JITTER, of_pose(split, PROFILE)),
        "half profile": (NO_JITTER, of_pose(split, HALF_PROFILE)),
        "paper's jitter, ±40°": (AugmentConfig(rotate_deg=40), split),
        "turned, ±60°": (jittered(rotate_deg=60), split),
        "occluded, 30–50 px": (NO_JITTER.model_copy(update={"occluder": OccluderConfig(min_px=30, max_px=50)}), split),
        "coarse, ¼": (NO_JITTER, coarse(split)),
        "badly framed, ±15 %, ±20 %": (jittered(translate=0.15, scale=0.2), split),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    options = parser.parse_args()
    dataset = open_dataset(options.data)
    harder = copies(dataset.split(options.split))
    columns: list[list[float]] = []
    for uri in options.checkpoints:
        network, info = load_network(uri)
        network = network.place("cpu", torch.channels_last)
        errors = []
        for augment, split in harder.values():
            config = info.config.model_copy(
                update={
                    "augment": augment,
                    "validation": info.config.validation.model_copy(update={"jitter": True}),
                }
            )
            errors.append(Validator(config, split, split.num_rows, dataset.manifest.point_schema).error_pct(network))
        columns.append([*errors, sum(errors) / len(errors)])
    table = Table("copy", "faces", box=None, pad_edge=False)
    for uri in options.checkpoints:
        table.add_column(uri, justify="right", overflow="fold")
    counts = [str(split.num_rows) for _, split in harder.values()]
    for row, name in enumerate([*harder, "mean of the copies"]):
        table.add_row(name, counts[row] if row < len(counts) else "", *(f"{column[row]:.2f}" for column in columns))
    Console(width=max(100, 30 + 20 * len(columns))).print(table)


if __name__ == "__main__":
    main()
