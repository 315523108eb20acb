"""Average the predictions of a network for an image and its flipped copy.

Shape letters: b images, c channels, k points, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rcn_search.models.blocks import Network
from rcn_search.models.tcdcn import TcdcnOutput


class FlipAverage(Network):
    """Network from images (b, c, h, w) to the output of another network, averaged over each image and its flip.

    Maps are averaged as probabilities, coordinates arithmetically.
    """

    def __init__(self, network: Network, flip_k: Sequence[int]):
        """Wrap a network.

        Args:
            network: Network whose input is an image.
            flip_k: Flip permutation of the keypoint schema: point k of a flipped face is point ``flip_k[k]``.
        """
        super().__init__()
        self.network = network
        self.flip_k = list(flip_k)

    def forward(self, image_bchw: Tensor) -> Tensor | TcdcnOutput:
        """Compute logits (b, k, h, w), or points with the attributes of the unflipped image."""
        plain, flipped = self.network(image_bchw), self.network(image_bchw.flip(3))
        if isinstance(plain, TcdcnOutput):
            unflipped_bk2 = flipped.points_bk2[:, self.flip_k]
            unflipped_bk2 = torch.stack([1 - unflipped_bk2[..., 0], unflipped_bk2[..., 1]], dim=2)
            return TcdcnOutput((plain.points_bk2 + unflipped_bk2) / 2, plain.attributes_logits)
        logits = torch.stack([plain, flipped[:, self.flip_k].flip(3)])
        return logits.flatten(3).log_softmax(3).logsumexp(0).view_as(plain)
