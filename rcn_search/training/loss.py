"""Losses (docs/explanation/model-specification.md, "Loss").

Shape letters: b images, k points, h rows, w columns of the maps (square).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config.schema import LossConfig, TcdcnConfig, TrainConfig
from rcn_search.models.decode import point_cells, soft_argmax_points
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.training.wing_loss import adaptive_wing_logits, wing_points


class LossShare(NamedTuple):
    """Weight of a worker's part of a batch in the loss of the whole batch, whose means have other denominators."""

    points: Tensor | float  # fraction of the points that count
    images: float  # fraction of the images


FULL_SHARE = LossShare(1.0, 1.0)  # share of a single worker


def spatial_nll(
    logits_bkhw: Tensor, points_bk2: Tensor, sigma_px: float = 0.0, weight_bk: Tensor | None = None
) -> Tensor:
    """Compute the negative log-likelihood of the true positions, summed over points, mean over images.

    The likelihood of a point is a softmax over all positions of its map (Honari et al. 2016, sec. 3.2).

    Args:
        logits_bkhw: One map for each point.
        points_bk2: True x, y in window coordinates; points outside the window are moved to its border.
        sigma_px: Standard deviation of a Gaussian target around the point; 0 for the paper's target, a single cell.
        weight_bk: 1 for points that count, else 0; the result is K times the mean over those that count.
    """
    size_px = logits_bkhw.shape[-1]
    if sigma_px == 0:
        cells = point_cells(points_bk2, size_px)
        index_bk = cells[..., 1] * size_px + cells[..., 0]
        logits = logits_bkhw.flatten(0, 1).flatten(1).float()
        if weight_bk is None:
            return F.cross_entropy(logits, index_bk.flatten(), reduction="sum") / len(logits_bkhw)
        return weighted_mean(F.cross_entropy(logits, index_bk.flatten(), reduction="none").view_as(index_bk), weight_bk)
    center = (points_bk2.clamp(0, 0.99999) * size_px)[..., None] - 0.5
    pixel = torch.arange(size_px, device=logits_bkhw.device)
    weight_bk2p = torch.softmax(-((pixel - center) ** 2) / (2 * sigma_px**2), dim=-1)
    logits = logits_bkhw.float()
    expected = torch.einsum("bkhw,bkw,bkh->bk", logits, weight_bk2p[:, :, 0], weight_bk2p[:, :, 1])
    return weighted_mean(logits.flatten(2).logsumexp(2) - expected, weight_bk)


def soft_argmax_loss(logits_bkhw: Tensor, points_bk2: Tensor, weight_bk: Tensor | None = None) -> Tensor:
    """Compute half the squared distance in pixels between the soft-argmax of each map and the true point.

    The soft-argmax is the mean position under a map's softmax (Sun et al., ECCV 2018). Means are as in `spatial_nll`.
    """
    error_bk2 = (soft_argmax_points(logits_bkhw.float()) - points_bk2) * logits_bkhw.shape[-1]
    return weighted_mean(error_bk2.square().sum(2) / 2, weight_bk)


def weighted_mean(loss_bk: Tensor, weight_bk: Tensor | None) -> Tensor:
    """Compute K times the mean over the points that count: without weights, the sum over points, mean over images."""
    if weight_bk is None:
        return loss_bk.sum() / len(loss_bk)
    return loss_bk.shape[1] * (loss_bk * weight_bk).sum() / weight_sum(weight_bk)


def weight_sum(weight: Tensor) -> Tensor:
    """Sum the weights; the small constant avoids a division by zero if no point counts."""
    return weight.sum() + 1e-8


def tcdcn_loss(
    output: TcdcnOutput,
    points_bk2: Tensor,
    attributes: Mapping[str, Tensor],
    auxiliary_weight: float,
    weight_bk: Tensor | None = None,
    share: LossShare = FULL_SHARE,
    wing_px: int | None = None,
) -> Tensor:
    """Compute half the squared distance, summed over points, mean over images, plus cross-entropies of attributes.

    With ``wing_px``, the side of the input, the Wing loss takes the place of the squared distance.
    """
    if wing_px is None:
        loss_bk = (output.points_bk2.float() - points_bk2).square().sum(2) / 2
    else:
        loss_bk = wing_points(output.points_bk2, points_bk2, wing_px)
    loss = share.points * weighted_mean(loss_bk, weight_bk)
    for cross_entropy in attribute_losses(output, attributes).values():
        loss = loss + share.images * auxiliary_weight * cross_entropy
    return loss


def attribute_losses(output: TcdcnOutput, attributes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute the cross-entropy of each attribute that is both predicted and given."""
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
    """Compute the loss of a configuration, or a worker's share of it; the shares of all workers add up to the loss.

    ``attributes`` are true classes (b,) of those that are learned; ``weight_bk`` is 1 for points that count, else 0.
    """
    if isinstance(output, Tensor):
        return share.points * _map_loss(config.loss, output, points_bk2, weight_bk)
    auxiliary_weight = config.model.auxiliary_weight if isinstance(config.model, TcdcnConfig) else 0.0
    wing_px = config.input.size_px if config.loss.name == "wing" else None
    return tcdcn_loss(output, points_bk2, attributes, auxiliary_weight, weight_bk, share, wing_px)


def _map_loss(options: LossConfig, logits_bkhw: Tensor, points_bk2: Tensor, weight_bk: Tensor | None) -> Tensor:
    match options.name:
        case "nll":
            return spatial_nll(logits_bkhw, points_bk2, options.target_sigma_px, weight_bk)
        case "l2":
            return soft_argmax_loss(logits_bkhw, points_bk2, weight_bk)
        case "wing":
            mean_bk2 = soft_argmax_points(logits_bkhw.float())
            return weighted_mean(wing_points(mean_bk2, points_bk2, logits_bkhw.shape[-1]), weight_bk)
        case "adaptive_wing":
            return weighted_mean(adaptive_wing_logits(logits_bkhw, points_bk2, options.target_sigma_px), weight_bk)
