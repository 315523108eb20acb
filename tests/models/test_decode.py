from __future__ import annotations

import torch

from rcn_search.models.decode import (
    argmax_cells,
    median_cells,
    point_cells,
    predicted_cells,
    predicted_points,
    refine_cells,
    soft_argmax_points,
)
from rcn_search.models.tcdcn import TcdcnOutput


def maps(*weights: dict[tuple[int, int], float], size_px: int = 20) -> torch.Tensor:
    """Create logits (1, k, size, size) from probabilities {(column, row): probability}."""
    probability = torch.full((len(weights), size_px, size_px), 1e-12)
    for index, cells in enumerate(weights):
        for (column, row), value in cells.items():
            probability[index, row, column] = value
    return probability.log()[None]


def test_argmax_cells_are_column_and_row_of_the_first_maximum() -> None:
    assert argmax_cells(maps({(3, 7): 1.0}, {(9, 2): 0.5, (1, 5): 0.5})).tolist() == [[[3, 7], [9, 2]]]


def test_median_cells_minimize_the_expected_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 16, 16, generator=generator) * 2
    probability = logits.flatten(2).softmax(2)
    cells = torch.stack(torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij"), 2).flatten(0, 1).float()
    expected = probability @ torch.cdist(cells, cells)
    index = expected.argmin(2)
    assert torch.equal(median_cells(logits), torch.stack([index % 16, index // 16], 2))


def test_median_cells_resist_a_distant_maximum() -> None:
    # The largest single value is far away; most of the probability is around (5, 5).
    blob = {(x, y): 0.07 for x in (4, 5, 6) for y in (4, 5, 6)}
    logits = maps({**blob, (18, 18): 0.37})
    assert argmax_cells(logits).tolist() == [[[18, 18]]]
    assert median_cells(logits).max() <= 6


def test_median_cells_at_corners_do_not_wrap_around() -> None:
    corners = [(0, 0), (19, 0), (0, 19), (19, 19)]
    assert median_cells(maps(*({corner: 1.0} for corner in corners))).tolist() == [[list(c) for c in corners]]


def test_refine_cells_is_the_mean_around_the_cell() -> None:
    logits = maps({(3, 7): 0.6, (4, 7): 0.2, (15, 15): 0.2})
    points, confidence = refine_cells(logits, argmax_cells(logits))
    torch.testing.assert_close(points, torch.tensor([[[3.5 + 0.25, 7.5]]]) / 20)
    torch.testing.assert_close(confidence, torch.tensor([[0.8]]))


def test_point_cells_are_clamped() -> None:
    points = torch.tensor([[[-0.1, 0.0], [1.0, 0.999], [0.5, 0.26]]])
    assert point_cells(points, 80).tolist() == [[[0, 0], [79, 79], [40, 20]]]


def test_predicted_points_of_regressors_are_their_output() -> None:
    output = TcdcnOutput(torch.tensor([[[0.25, 0.5]]]), {})
    cells = predicted_cells(output, 80, "median")
    assert cells.tolist() == [[[20, 40]]]
    assert predicted_points(output, cells)[0] is output.points_bk2


def test_soft_argmax_points_are_between_the_cells() -> None:
    logits = maps({(3, 7): 0.75, (11, 7): 0.25}, {(0, 19): 1.0})
    torch.testing.assert_close(
        soft_argmax_points(logits)[0] * 20, torch.tensor([[5.5, 7.5], [0.5, 19.5]]), atol=1e-4, rtol=0
    )
    assert predicted_cells(logits, 20, "soft-argmax")[0, 0].tolist() == [5, 7]
    points, _ = predicted_points(logits, predicted_cells(logits, 20, "soft-argmax"), "soft-argmax")
    torch.testing.assert_close(points, soft_argmax_points(logits))
