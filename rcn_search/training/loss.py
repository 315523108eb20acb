"""What is minimised (rcn.md 5 and 10.3).

Shape letters: b images, k points, h rows, w columns of the maps (square).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config.schema import TcdcnConfig, TrainConfig
from rcn_search.models.decode import mean_points, point_cells
from rcn_search.models.tcdcn import TcdcnOutput


class LossShare(NamedTuple):
    """What a worker's part of a batch weighs in the loss of the whole batch, whose means have other denominators."""

    points: Tensor | float
    """Share of the points that count."""
    images: float
    """Share of the images."""


FULL_SHARE = LossShare(1.0, 1.0)
"""Of the only worker."""


def spatial_nll(
    logits_bkhw: Tensor, points_bk2: Tensor, sigma_px: float = 0.0, weight_bk: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood under a softmax over all positions of each map, summed over points, mean over images.

    Args:
        logits_bkhw: One map per point.
        points_bk2: 0..1 across the window; outside it they count at the border (rcn.md 5).
        sigma_px: Width of a Gaussian target around the continuous point; 0 for the single true cell of the paper.
        weight_bk: 0 for points that do not count; the mean is over those that do, times K.
    """
    size_px = logits_bkhw.shape[-1]
    if sigma_px == 0:
        cells = point_cells(points_bk2, size_px)
        index_bk = cells[..., 1] * size_px + cells[..., 0]
        logits = logits_bkhw.flatten(0, 1).flatten(1).float()
        if weight_bk is None:
            return F.cross_entropy(logits, index_bk.flatten(), reduction="sum") / len(logits_bkhw)
        return weighted_mean(F.cross_entropy(logits, index_bk.flatten(), reduction="none").view_as(index_bk), weight_bk)
    centre = (points_bk2.clamp(0, 0.99999) * size_px)[..., None] - 0.5
    pixel = torch.arange(size_px, device=logits_bkhw.device)
    weight_bk2p = torch.softmax(-((pixel - centre) ** 2) / (2 * sigma_px**2), dim=-1)
    logits = logits_bkhw.float()
    expected = torch.einsum("bkhw,bkw,bkh->bk", logits, weight_bk2p[:, :, 0], weight_bk2p[:, :, 1])
    return weighted_mean(logits.flatten(2).logsumexp(2) - expected, weight_bk)


def soft_argmax_loss(logits_bkhw: Tensor, points_bk2: Tensor, weight_bk: Tensor | None = None) -> Tensor:
    """Half the squared distance in pixels between the mean position of each map and the truth; averaged as the NLL.

    The L2 head: the softmax of a map is not scored cell by cell but read as a position (Sun et al., ECCV 2018).
    """
    error_bk2 = (mean_points(logits_bkhw.float()) - points_bk2) * logits_bkhw.shape[-1]
    return weighted_mean(error_bk2.square().sum(2) / 2, weight_bk)


def weighted_mean(loss_bk: Tensor, weight_bk: Tensor | None) -> Tensor:
    """K times the mean over the points that count (rcn.md 5); without weights the sum over points, mean over images."""
    if weight_bk is None:
        return loss_bk.sum() / len(loss_bk)
    return loss_bk.shape[1] * (loss_bk * weight_bk).sum() / weight_sum(weight_bk)


def weight_sum(weight: Tensor) -> Tensor:
    """The denominator of a mean over points that count, of which there may be none."""
    return weight.sum() + 1e-8


def tcdcn_loss(
    output: TcdcnOutput,
    points_bk2: Tensor,
    attributes: Mapping[str, Tensor],
    auxiliary_weight: float,
    weight_bk: Tensor | None = None,
    share: LossShare = FULL_SHARE,
) -> Tensor:
    """Half the squared distance, summed over points, mean over images, plus weighted cross-entropies of the attributes.

    Args:
        output: Points 0..1 across the window and logits of each attribute.
        points_bk2: The truth, in the same frame.
        attributes: True classes (b,) by name, of those that are learned; one that is not here is passed over.
        auxiliary_weight: Of each attribute.
        weight_bk: 0 for points that do not count.
        share: Of these images in their batch.
    """
    loss = share.points * weighted_mean((output.points_bk2.float() - points_bk2).square().sum(2) / 2, weight_bk)
    for cross_entropy in attribute_losses(output, attributes).values():
        loss = loss + share.images * auxiliary_weight * cross_entropy
    return loss


def attribute_losses(output: TcdcnOutput, attributes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy of each attribute that is both predicted and given."""
    return {
        name: F.cross_entropy(logits.float(), attributes[name])
        for name, logits in output.attributes_logits.items()
        if name in attributes
    }


def training_loss(
    config: TrainConfig,
    output: Tensor | TcdcnOutput,
    points_bk2: Tensor,
    attributes: Mapping[str, Tensor],
    weight_bk: Tensor | None = None,
    share: LossShare = FULL_SHARE,
) -> Tensor:
    """The loss a configuration asks for, or a worker's share of it: over the workers the shares add up to it."""
    if isinstance(output, Tensor):
        if config.loss.name == "l2":
            return share.points * soft_argmax_loss(output, points_bk2, weight_bk)
        return share.points * spatial_nll(output, points_bk2, config.loss.target_sigma_px, weight_bk)
    assert isinstance(config.model, TcdcnConfig)
    return tcdcn_loss(output, points_bk2, attributes, config.model.auxiliary_weight, weight_bk, share)
