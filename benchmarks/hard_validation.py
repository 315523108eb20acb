"""Error of checkpoints on the validation images, plain and made harder: something to choose by without the test set.

Each copy is made by a fixed seed, so that checkpoints can be compared on the same images. Errors are those of
`rcn2016`, in percent of the eye distance; ``profile`` and ``half profile`` are the plain images of these poses.

    python benchmarks/hard_validation.py runs/a/best.safetensors runs/b/best.safetensors --data data/mtfl
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from rcn_search.config.schema import AugmentConfig, OccluderConfig
from rcn_search.data.augment import (
    NO_AUGMENTATION,
    augment_face_boxes,
    draw_black_rectangles,
    random_draws,
    to_channels,
    warp_images,
    warp_points,
)
from rcn_search.data.contrast_normalization import contrast_normalize
from rcn_search.data.dataset import Split, open_dataset
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.test_time_augmentation import average_views, view_windows
from rcn_search.keypoints import keypoint_schema
from rcn_search.models.blocks import Network
from rcn_search.models.decode import point_cells, predicted_cells
from rcn_search.training.checkpoint import CheckpointInfo, load_network
from rcn_search.training.validation import BATCH_SIZE

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
    return NO_AUGMENTATION.model_copy(update=ranges)


def copies(split: Split) -> dict[str, tuple[AugmentConfig, Split]]:
    """Name, jitter and images of each copy."""
    return {
        "plain": (NO_AUGMENTATION, split),
        "profile": (NO_AUGMENTATION, of_pose(split, PROFILE)),
        "half profile": (NO_AUGMENTATION, of_pose(split, HALF_PROFILE)),
        "paper's jitter, ±40°": (AugmentConfig(rotate_deg=40), split),
        "turned, ±60°": (jittered(rotate_deg=60), split),
        "occluded, 30–50 px": (
            NO_AUGMENTATION.model_copy(update={"occluder": OccluderConfig(min_px=30, max_px=50)}),
            split,
        ),
        "coarse, ¼": (NO_AUGMENTATION, coarse(split)),
        "badly framed, ±15 %, ±20 %": (jittered(translate=0.15, scale=0.2), split),
    }


@torch.inference_mode()
def error_pct(
    network: Network, info: CheckpointInfo, split: Split, augment: AugmentConfig, inference: InferenceConfig
) -> float:
    """Mean error under `rcn2016` of the faces of a copy; with multiview NaN where faces are occluded: the black
    rectangle lies in a window, not in the face."""
    if inference.multiview and augment.occluder.max_px:
        return math.nan
    size_px, errors = info.config.input.size_px, []
    draws = random_draws(split.num_rows, seed=0, epoch=0)
    left, right = (list(group) for group in keypoint_schema(info.keypoints).normalizers["eye_centers"])
    for rows in torch.arange(split.num_rows).split(BATCH_SIZE):
        window = augment_face_boxes(split.face_box_n4[rows], draws[rows], augment)
        frames = view_windows(window) if inference.multiview else [window]
        outputs = []
        for frame in frames:
            warped = warp_images(to_channels(split.images_at(rows), info.config.input.color), frame, size_px)
            warped = draw_black_rectangles(warped, draws[rows], augment.occluder)
            outputs.append(network(contrast_normalize(warped, info.config.input.contrast_normalization)))
        predicted_bk2 = predicted_cells(average_views(outputs, frames), size_px, inference.decoder or "argmax")
        points_bk2 = warp_points(split.points_nk2[rows], window)
        distance_bk = (predicted_bk2 - point_cells(points_bk2, size_px)).float().norm(dim=2)
        eyes_b2 = points_bk2[:, left].mean(1) - points_bk2[:, right].mean(1)
        errors.append(distance_bk.mean(1) / (eyes_b2.norm(dim=1) * size_px))
    return 100 * float(torch.cat(errors).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--decoder", choices=["argmax", "median"], default="argmax")
    parser.add_argument("--tta", choices=["multiview"], help="nine windows, as in rcn-search evaluate")
    options = parser.parse_args()
    inference = InferenceConfig.from_record({}, decoder=options.decoder, tta=[options.tta] if options.tta else [])
    harder = copies(open_dataset(options.data).split(options.split))
    columns: list[list[float]] = []
    for uri in options.checkpoints:
        network, info = load_network(uri)
        network = network.to_device("cpu", torch.channels_last).eval()
        errors = [error_pct(network, info, split, augment, inference) for augment, split in harder.values()]
        columns.append([*errors, sum(errors) / len(errors)])
    table = Table("copy", "faces", box=None, pad_edge=False)
    for uri in options.checkpoints:
        table.add_column(uri, justify="right", overflow="fold")
    counts = [str(split.num_rows) for _, split in harder.values()]
    for row, name in enumerate([*harder, "mean of the copies"]):
        figures = ("" if math.isnan(column[row]) else f"{column[row]:.2f}" for column in columns)
        table.add_row(name, counts[row] if row < len(counts) else "", *figures)
    Console(width=max(100, 30 + 20 * len(columns))).print(table)


if __name__ == "__main__":
    main()
