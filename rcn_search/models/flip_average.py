"""A network that also looks at the mirror image: the mean of what it makes of both.

Shape letters: b images, c channels, k points, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rcn_search.models.blocks import Network
from rcn_search.models.tcdcn import TcdcnOutput


class Mirrored(Network):
    """Images (b, c, h, w) to the output of the network it is made of, averaged over each image and its mirror image.

    Maps are averaged as probabilities; coordinates as they are.
    """

    def __init__(self, network: Network, flip_k: Sequence[int]):
        """Wrap a network.

        Args:
            network: Any that takes images.
            flip_k: Point k of a mirrored face is point ``flip_k[k]`` of the face.
        """
        super().__init__()
        self.network = network
        self.flip_k = list(flip_k)

    def forward(self, image_bchw: Tensor) -> Tensor | TcdcnOutput:
        """Logits (b, k, h, w), or points with the attributes of the image as it is."""
        straight, mirrored = self.network(image_bchw), self.network(image_bchw.flip(3))
        if isinstance(straight, TcdcnOutput):
            back_bk2 = mirrored.points_bk2[:, self.flip_k]
            back_bk2 = torch.stack([1 - back_bk2[..., 0], back_bk2[..., 1]], dim=2)
            return TcdcnOutput((straight.points_bk2 + back_bk2) / 2, straight.attributes_logits)
        logits = torch.stack([straight, mirrored[:, self.flip_k].flip(3)])
        return logits.flatten(3).log_softmax(3).logsumexp(0).view_as(straight)
