"""What is minimised (rcn.md 5 and 10.3).

Shape letters: b images, k points, h rows, w columns of the maps (square).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config import TcdcnConfig, TrainConfig
from rcn_search.models.decode import point_cells
from rcn_search.models.tcdcn import TcdcnOutput


def spatial_nll(logits_bkhw: Tensor, points_bk2: Tensor, sigma_px: float = 0.0) -> Tensor:
    """Negative log-likelihood under a softmax over all positions of each map, summed over points, mean over images.

    Args:
        logits_bkhw: One map per point.
        points_bk2: 0..1 across the window; outside it they count at the border (rcn.md 5).
        sigma_px: Width of a Gaussian target around the continuous point; 0 for the single true cell of the paper.
    """
    size_px = logits_bkhw.shape[-1]
    cells = point_cells(points_bk2, size_px)
    if sigma_px == 0:
        index_bk = cells[..., 1] * size_px + cells[..., 0]
        losses = F.cross_entropy(logits_bkhw.flatten(0, 1).flatten(1).float(), index_bk.flatten(), reduction="sum")
        return losses / len(logits_bkhw)
    centre = (points_bk2.clamp(0, 0.99999) * size_px)[..., None] - 0.5
    pixel = torch.arange(size_px, device=logits_bkhw.device)
    weight_bk2p = torch.softmax(-((pixel - centre) ** 2) / (2 * sigma_px**2), dim=-1)
    logits = logits_bkhw.float()
    expected = torch.einsum("bkhw,bkw,bkh->bk", logits, weight_bk2p[:, :, 0], weight_bk2p[:, :, 1])
    return (logits.flatten(2).logsumexp(2) - expected).sum() / len(logits)


def tcdcn_loss(
    output: TcdcnOutput, points_bk2: Tensor, attributes: dict[str, Tensor], auxiliary_weight: float
) -> Tensor:
    """Half the squared distance, summed over points, mean over images, plus weighted cross-entropies of the attributes.

    Args:
        output: Points 0..1 across the window and logits of each attribute.
        points_bk2: The truth, in the same frame.
        attributes: True classes (b,) by name.
        auxiliary_weight: Of each attribute.
    """
    loss = (output.points_bk2.float() - points_bk2).square().sum() / (2 * len(points_bk2))
    for name, logits in output.attributes_logits.items():
        loss = loss + auxiliary_weight * F.cross_entropy(logits.float(), attributes[name])
    return loss


def training_loss(
    config: TrainConfig, output: Tensor | TcdcnOutput, points_bk2: Tensor, attributes: dict[str, Tensor]
) -> Tensor:
    """The loss a configuration asks for."""
    if isinstance(output, Tensor):
        return spatial_nll(output, points_bk2, config.loss.target_sigma_px)
    assert isinstance(config.model, TcdcnConfig)
    return tcdcn_loss(output, points_bk2, attributes, config.model.auxiliary_weight)
