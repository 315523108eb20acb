"""Networks that are made of other networks: the joint model (Honari et al. 2016, sec. 4 and Fig. 2) and flip averaging.

Shape letters: b images, c channels, k points, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rcn_search.errors import RcnSearchError
from rcn_search.models.blocks import Network
from rcn_search.models.decode import argmax_cells
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.tcdcn import TcdcnOutput


class JointModel(Network):
    """Network from images (b, c, h, h) to logits (b, k, h, h): A + denoiser(argmax(A)), with the logits A of a network.

    From the locations of all points, the denoiser predicts where each should be. The network's map size and points must
    be those of the denoiser. No gradient passes through the argmax.
    """

    def __init__(self, network: Network, denoiser: Denoiser):
        super().__init__()
        self.network, self.denoiser = network, denoiser

    def l2_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the weights of the network's encoder, and all other weights."""
        trunk, branches = self.network.l2_groups()
        return trunk, [*branches, *self.denoiser.l2_groups()[0]]

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Compute the sum of both logits: (b, k, h, h)."""
        logits_bkhw = self.network(image_bchw)
        if not isinstance(logits_bkhw, Tensor):
            raise RcnSearchError("the network predicts coordinates; only maps can be added to those of a denoiser")
        size_px, num_points = self.denoiser.input_px, self.denoiser.num_points
        if logits_bkhw.shape[1:] != (num_points, size_px, size_px):
            raise RcnSearchError(
                f"the network makes maps of shape {tuple(logits_bkhw.shape[1:])}, the denoiser takes {num_points} "
                f"points on {size_px} px: use two that were trained for the same points and input.size_px"
            )
        return logits_bkhw + self.denoiser(argmax_cells(logits_bkhw))  # type: ignore[no-any-return]


class FlipAverage(Network):
    """Network from images (b, c, h, w) to the output of another network, averaged over each image and its flip.

    Maps are averaged as probabilities, coordinates arithmetically. Point k of a flipped face is point ``flip_k[k]``.
    """

    def __init__(self, network: Network, flip_k: Sequence[int]):
        super().__init__()
        self.network, self.flip_k = network, list(flip_k)

    def forward(self, image_bchw: Tensor) -> Tensor | TcdcnOutput:
        """Compute logits (b, k, h, w), or points with the attributes of the unflipped image."""
        plain, flipped = self.network(image_bchw), self.network(image_bchw.flip(3))
        if isinstance(plain, TcdcnOutput):
            unflipped_bk2 = flipped.points_bk2[:, self.flip_k]
            unflipped_bk2 = torch.stack([1 - unflipped_bk2[..., 0], unflipped_bk2[..., 1]], dim=2)
            return TcdcnOutput((plain.points_bk2 + unflipped_bk2) / 2, plain.attributes_logits)
        logits = torch.stack([plain, flipped[:, self.flip_k].flip(3)])
        return logits.flatten(3).log_softmax(3).logsumexp(0).view_as(plain)
