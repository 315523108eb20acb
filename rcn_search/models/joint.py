"""Joint model of a map network and a denoiser (Honari et al. 2016, sec. 4 and Fig. 2).

The network locates each point in the image; the denoiser predicts from all of these locations where each point should
be. The logits of both are added.
"""

from __future__ import annotations

from torch import Tensor, nn

from rcn_search.errors import RcnSearchError
from rcn_search.models.blocks import Network
from rcn_search.models.decode import argmax_cells
from rcn_search.models.denoiser import Denoiser


class JointModel(Network):
    """Network from images (b, c, h, h) to logits (b, k, h, h): A + denoiser(argmax(A)), with the logits A of a network.

    No gradient passes through the argmax.

    Attributes:
        network: Map network with the map size and the points of the denoiser.
        denoiser: Denoiser.
    """

    def __init__(self, network: Network, denoiser: Denoiser):
        super().__init__()
        self.network, self.denoiser = network, denoiser

    def l2_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the weights of the network's encoder, and all other weights."""
        trunk, branches = self.network.l2_groups()
        return trunk, [*branches, *self.denoiser.l2_groups()[0]]

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Compute the sum of both logits: (b, k, h, h).

        Raises:
            RcnSearchError: The denoiser was trained for maps of another size, or for other points.
        """
        logits_bkhw: Tensor = self.network(image_bchw)
        size_px, num_points = self.denoiser.input_px, self.denoiser.num_points
        if logits_bkhw.shape[1:] != (num_points, size_px, size_px):
            raise RcnSearchError(
                f"the network makes maps of shape {tuple(logits_bkhw.shape[1:])}, the denoiser takes {num_points} "
                f"points on {size_px} px: use two that were trained for the same points and input.size_px"
            )
        logits_bkhw = logits_bkhw + self.denoiser(argmax_cells(logits_bkhw))
        return logits_bkhw
