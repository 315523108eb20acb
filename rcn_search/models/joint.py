"""The joint model (Honari et al., CVPR 2016, section 4 and Fig. 2; rcn.md 7): a map network and the denoiser together.

The network says from the image where each point is; the denoiser says from all of these peaks where each should be.
The logits of both are summed, with equal weights.
"""

from __future__ import annotations

from torch import Tensor, nn

from rcn_search.errors import RcnSearchError
from rcn_search.models.blocks import Network
from rcn_search.models.decode import peak_cells
from rcn_search.models.denoiser import Denoiser


class Joint(Network):
    """Images (b, c, h, h) to logits (b, k, h, h): A + denoiser(peaks of A), for A the logits of the network.

    No gradient passes through the peaks: in training, each of the two sees only the sum.

    Attributes:
        network: Any network that makes maps of the side and the points the denoiser knows.
        denoiser: See `Denoiser`.
    """

    def __init__(self, network: Network, denoiser: Denoiser):
        super().__init__()
        self.network, self.denoiser = network, denoiser

    def l2_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The network's trunk, and everything else."""
        trunk, branches = self.network.l2_groups()
        return trunk, [*branches, *self.denoiser.l2_groups()[0]]

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Logits (b, k, h, h) of the sum.

        Raises:
            RcnSearchError: The network makes maps of another size, or of other points, than the denoiser was trained on.
        """
        logits_bkhw: Tensor = self.network(image_bchw)
        size_px, num_points = self.denoiser.input_px, self.denoiser.num_points
        if logits_bkhw.shape[1:] != (num_points, size_px, size_px):
            raise RcnSearchError(
                f"the network makes maps of shape {tuple(logits_bkhw.shape[1:])}, the denoiser takes {num_points} "
                f"points on {size_px} px: take two that were trained for the same points and input.size_px"
            )
        logits_bkhw = logits_bkhw + self.denoiser(peak_cells(logits_bkhw))
        return logits_bkhw
