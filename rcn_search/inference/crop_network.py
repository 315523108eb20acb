"""Everything between stored crops and points as one module: normalization, network and decoding.

`Predictor` runs it, and `rcn_search.inference.export` writes it as one graph. Shape letters: b faces, k points.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rcn_search.config.schema import Decoder, InputConfig
from rcn_search.data.augment import face_box_windows, network_inputs, unwarp_points
from rcn_search.inference.test_time_augmentation import average_views, view_windows
from rcn_search.models.blocks import Network
from rcn_search.models.decode import predicted_cells, predicted_points


class CropPoints(NamedTuple):
    """Predicted keypoints of a batch of crops, on the device.

    Attributes:
        points_bk2: x, y in crop pixels.
        cells_bk2: Column and row of the predicted cell of the network's grid, int64.
    """

    points_bk2: Tensor
    cells_bk2: Tensor
    confidence_bk: Tensor


class CropNetwork(nn.Module):
    """A network from crops (b, s, s) or (b, s, s, 3) uint8, and the face box of each, to their points."""

    def __init__(self, network: Network, options: InputConfig, decoder: Decoder, *, multiview: bool = False):
        super().__init__()
        self.network, self.options, self.decoder, self.multiview = network, options, decoder, multiview

    def forward(self, crop_b: Tensor, face_box_b4: Tensor) -> CropPoints:
        """Predict the points; face boxes are x, y, width, height in crop pixels of what the network sees."""
        window = face_box_windows(face_box_b4)
        windows = view_windows(window) if self.multiview else [window]
        outputs = [
            self.network(network_inputs(crop_b, view, self.options).contiguous(memory_format=torch.channels_last))
            for view in windows
        ]
        output = average_views(outputs, windows)
        cells_bk2 = predicted_cells(output, self.options.size_px, self.decoder)
        points_bk2, confidence_bk = predicted_points(output, cells_bk2, self.decoder)
        return CropPoints(unwarp_points(points_bk2, window), cells_bk2, confidence_bk)
