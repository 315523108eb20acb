from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from rcn_search.models.decode import argmax_cells
from rcn_search.models.heads import CoordinatesHead, Deconvolutions, HeatmapHead, SimccHead, build_head
from rcn_search.testing import check_network
from rcn_search.training.loss import spatial_nll

FEATURES = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))


def randomize(module: nn.Module) -> dict[str, np.ndarray]:
    """Give every parameter and statistic values that nothing hides behind; return them in double precision."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}


def conv_1x1(features: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.einsum("bcyx,oc->boyx", features, weight[:, :, 0, 0]) + bias[:, None, None]


def deconvolved(features: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Each value adds its kernel at twice its place, less the padding of one pixel."""
    batch, _, side, _ = features.shape
    out = np.zeros((batch, weight.shape[1], 2 * side + 2, 2 * side + 2))
    for y in range(side):
        for x in range(side):
            out[:, :, 2 * y : 2 * y + 4, 2 * x : 2 * x + 4] += np.einsum("bi,iohw->bohw", features[:, :, y, x], weight)
    return out[:, :, 1:-1, 1:-1]


def test_heatmap_head_is_a_product_with_each_pixel() -> None:
    head = HeatmapHead(6, 3)
    weights = randomize(head)
    expected = conv_1x1(FEATURES.double().numpy(), weights["logits.weight"], weights["logits.bias"])
    np.testing.assert_allclose(head(FEATURES).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_deconvolutions_spread_kernels_and_cut_odd_sides() -> None:
    layers = Deconvolutions(6, 4, (9, 18)).eval()
    weights = randomize(layers)
    expected = FEATURES.double().numpy()
    for number, side in enumerate((9, 18)):
        of = {name.removeprefix(f"layers.{number}."): value for name, value in weights.items()}
        maps = deconvolved(expected, of["0.weight"])
        scale = of["1.weight"] / np.sqrt(of["1.running_var"] + 1e-5)
        maps = (maps - of["1.running_mean"][:, None, None]) * scale[:, None, None] + of["1.bias"][:, None, None]
        expected = np.maximum(maps, 0)[:, :, :side, :side]
    result = layers(FEATURES).detach().numpy()
    assert result.shape == (2, 4, 18, 18)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)


def simcc_logits(head: SimccHead) -> tuple[np.ndarray, np.ndarray]:
    """Logits of columns and of rows, (b, k, h) each, from scratch."""
    weights = randomize(head)
    embedding = conv_1x1(FEATURES.double().numpy(), weights["embedding.weight"], weights["embedding.bias"])
    flat = embedding.reshape(2, 3, -1)
    columns, rows = (flat @ weights[f"{name}.weight"].T + weights[f"{name}.bias"] for name in ("columns", "rows"))
    return columns, rows


def test_simcc_head_gives_the_two_classifications_of_each_point() -> None:
    head = SimccHead(6, 3, side_px=5, input_px=12)
    columns, rows = simcc_logits(head)
    logits = head(FEATURES)
    assert logits.shape == (2, 3, 12, 12)
    both = np.stack([columns.argmax(2), rows.argmax(2)], axis=2)
    np.testing.assert_array_equal(argmax_cells(logits).numpy(), both)


@pytest.mark.parametrize("sigma_px", [0.0, 1.5])
def test_simcc_loss_is_the_sum_of_both_cross_entropies(sigma_px: float) -> None:
    head = SimccHead(6, 3, side_px=5, input_px=12)
    both = simcc_logits(head)
    points = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(2))
    expected = 0.0
    for axis, logits in enumerate(both):
        place = points[..., axis].double().numpy() * 12
        if sigma_px:
            share = np.exp(-((np.arange(12) + 0.5 - place[..., None]) ** 2) / (2 * sigma_px**2))
            share /= share.sum(2, keepdims=True)
        else:
            share = np.eye(12)[np.floor(place).astype(int)]
        expected += float((logsumexp(logits, axis=2) - (share * logits).sum(2)).sum() / 2)
    assert spatial_nll(head(FEATURES), points, sigma_px).item() == pytest.approx(expected, rel=1e-4)


def test_coordinates_head_is_a_product_with_the_mean_of_the_features() -> None:
    head = CoordinatesHead(6, 3)
    np.testing.assert_allclose(head(FEATURES).detach().numpy(), 0.5, atol=0.01)  # the center, before training
    weights = randomize(head)
    mean = FEATURES.double().numpy().mean((2, 3))
    expected = (mean @ weights["points.weight"].T + weights["points.bias"]).reshape(2, 3, 2)
    np.testing.assert_allclose(head(FEATURES).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


class Headed(nn.Module):
    """A network of a user's own with each of the heads."""

    def __init__(self, num_points: int, input_px: int, in_channels: int, head: str = "heatmap") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 8, 3, stride=4, padding=1), nn.ReLU())
        self.head = build_head(head, 8, num_points, side_px=input_px // 4, input_px=input_px)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(image))


@pytest.mark.parametrize(
    ("head", "output"), [("heatmap", "logits 10×10"), ("simcc", "logits 40×40"), ("coordinates", "points")]
)
def test_network_with_each_head_meets_the_contract(head: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, Headed.__module__, sys.modules[__name__])
    report = check_network(Headed, num_points=3, input_px=40, args={"head": head})
    assert (report.output, report.unused) == (output, ())
