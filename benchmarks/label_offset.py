"""Do the labels of a test set lie where those of the training set do? And what is it that limits a network?

Of each prediction file (of a run's test split): the median displacement of all predicted points from the published ones
in pixels of the image, and the sub-pixel error before and after that one shift is taken off. The shift is estimated on
one half of the images and taken off on the other, and the other way round. It uses the test labels: an analysis, no
score.

Of the checkpoint beside it: by how much its predictions for a validation face and for its flipped image differ in x
(twice the displacement of the training labels, if it was not trained on flipped images), and its mean loss on 1,000
augmented faces it was trained on and on 1,000 it was not.

    python benchmarks/label_offset.py runs/a/predictions-aflw.parquet runs/b/predictions-aflw.parquet --data data/mtfl
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from rcn_search.config.schema import TrainConfig
from rcn_search.data.augment import NO_AUGMENTATION
from rcn_search.data.dataset import Dataset, open_dataset
from rcn_search.evaluation.predictions import Predictions, read_predictions
from rcn_search.models.blocks import Network
from rcn_search.models.decode import median_cells, refine_cells
from rcn_search.training.checkpoint import load_network
from rcn_search.training.loss import training_loss
from rcn_search.training.task import build_task

NUM_FACES, BATCH = 1_000, 100
SEED = 99
"""Of the jitter and of the halves; no run trained with it."""


def eye_distance(points_nk2: NDArray[np.float32], predictions: Predictions) -> NDArray[np.float32]:
    left, right = (list(group) for group in predictions.schema.normalizers["eye_centers"])
    distance: NDArray[np.float32] = np.linalg.norm(points_nk2[:, left].mean(1) - points_nk2[:, right].mean(1), axis=1)
    return distance


def shift_taken_off(predictions: Predictions) -> tuple[NDArray[np.float32], float, float]:
    """Median displacement x, y in pixels, and the error in percent before and after."""
    displaced_nk2 = predictions.pred_image_nk2 - predictions.true_image_nk2
    eyes_n11 = eye_distance(predictions.true_image_nk2, predictions)[:, None, None]
    halves = np.array_split(np.random.default_rng(SEED).permutation(len(predictions)), 2)
    left = []
    for estimated_on, measured_on in (halves, halves[::-1]):
        shift = np.median(displaced_nk2[estimated_on].reshape(-1, 2), axis=0)
        left.append(np.linalg.norm((displaced_nk2[measured_on] - shift) / eyes_n11[measured_on], axis=2).mean(1))
    before = 100 * float(np.linalg.norm(displaced_nk2 / eyes_n11, axis=2).mean())
    return np.median(displaced_nk2.reshape(-1, 2), axis=0), before, 100 * float(np.concatenate(left).mean())


@torch.inference_mode()
def flip_gap_pct(network: Network, config: TrainConfig, dataset: Dataset) -> float:
    """Median over validation faces of x of a face less x of its flipped image, in percent of the eye distance."""
    split, schema = dataset.split(config.data.val_split), dataset.manifest.keypoint_schema
    task = build_task(config, split, schema, NO_AUGMENTATION)
    draws, flip, gaps = task.random_draws(split.num_rows, seed=SEED, epoch=0), list(schema.flip), []
    left, right = (list(group) for group in schema.normalizers["eye_centers"])
    for rows in torch.arange(min(NUM_FACES, split.num_rows)).split(BATCH):
        batch = task.make_batch(rows, draws[rows])
        predicted = []
        for logits in (network(batch.inputs), network(batch.inputs.flip(3))[:, flip].flip(3)):
            predicted.append(refine_cells(logits, median_cells(logits))[0][..., 0])
        eyes_b = (batch.points_bk2[:, left].mean(1) - batch.points_bk2[:, right].mean(1)).norm(dim=1)
        gaps.append((predicted[0] - predicted[1]) / eyes_b[:, None])
    return 100 * float(torch.cat(gaps).median())


@torch.inference_mode()
def mean_loss(network: Network, config: TrainConfig, dataset: Dataset, split_name: str) -> float:
    """Mean loss on augmented faces of a split, none of them flipped."""
    split = dataset.split(split_name)
    augment = config.augment.model_copy(update={"flip": 0.0})
    task = build_task(config, split, dataset.manifest.keypoint_schema, augment)
    count = min(NUM_FACES, split.num_rows)
    draws, total = task.random_draws(count, seed=SEED, epoch=0), 0.0
    for rows in torch.arange(count).split(BATCH):
        batch = task.make_batch(rows, draws[rows])
        loss = training_loss(config, network(batch.inputs), batch.points_bk2, batch.attributes, batch.weight_bk)
        total += float(loss) * len(rows)
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", nargs="+")
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    dataset = open_dataset(options.data)
    table = Table("run", box=None, pad_edge=False)
    for name in ("displaced x, y px", "error %", "shift off %", "flip gap %", "loss, trained on", "loss, not"):
        table.add_column(name, justify="right")
    for uri in options.predictions:
        shift, before, after = shift_taken_off(read_predictions(uri))
        network, info = load_network(str(Path(uri).parent / "best.safetensors"))
        network = network.to_device("cpu", torch.channels_last)
        table.add_row(
            Path(uri).parent.name,
            f"{shift[0]:+.2f}, {shift[1]:+.2f}",
            f"{before:.2f}",
            f"{after:.2f}",
            f"{flip_gap_pct(network, info.config, dataset):.2f}",
            f"{mean_loss(network, info.config, dataset, info.config.data.train_split):.3f}",
            f"{mean_loss(network, info.config, dataset, info.config.data.val_split):.3f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
