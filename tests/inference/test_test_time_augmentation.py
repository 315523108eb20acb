from __future__ import annotations

import torch

from rcn_search.data.augment import (
    NO_AUGMENTATION,
    InputWindow,
    augment_face_boxes,
    random_draws,
    unwarp_points,
    warp_points,
)
from rcn_search.inference.test_time_augmentation import NUM_VIEWS, average_views, view_windows
from rcn_search.models.decode import argmax_cells
from rcn_search.models.tcdcn import TcdcnOutput

BOX = torch.tensor([[30.0, 40.0, 90.0, 90.0], [20.0, 20.0, 120.0, 120.0]])
SIZE_PX = 80


def spots(points_bk2: torch.Tensor) -> torch.Tensor:
    """Logits with narrow peaks at these points, 0..1 across the window."""
    center = (torch.arange(SIZE_PX) + 0.5) / SIZE_PX
    x, y = points_bk2[..., 0, None, None], points_bk2[..., 1, None, None]
    return -((center[None, :] - x) ** 2 + (center[:, None] - y) ** 2) * SIZE_PX**2 / 2


def face_boxes() -> InputWindow:
    return augment_face_boxes(BOX, random_draws(2, seed=0, epoch=0), NO_AUGMENTATION)


def test_view_windows_lie_evenly_around_the_first() -> None:
    first, *others = view_windows(face_boxes())
    assert all(torch.equal(a, b) for a, b in zip(first, face_boxes(), strict=True))
    assert len({tuple(frame.axes_b22.flatten().tolist()) for frame in (first, *others)}) == NUM_VIEWS
    assert all(torch.equal(frame.center_b2, first.center_b2) for frame in others)
    mean_b22 = torch.stack([frame.axes_b22 for frame in (first, *others)]).mean(0)
    torch.testing.assert_close(mean_b22 / mean_b22[:, :1, :1], first.axes_b22 / first.axes_b22[:, :1, :1])


def test_average_views_single_view_is_unchanged() -> None:
    logits = torch.randn(2, 5, SIZE_PX, SIZE_PX)
    assert average_views([logits], [face_boxes()]) is logits


def test_average_views_equal_points_stay() -> None:
    points_bk2 = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    windows = view_windows(face_boxes())
    crop_bk2 = unwarp_points(points_bk2, windows[0])
    viewed = [warp_points(crop_bk2, window) for window in windows]
    mean = average_views([spots(points) for points in viewed], windows)
    assert isinstance(mean, torch.Tensor)
    assert (argmax_cells(mean) - (points_bk2 * SIZE_PX).floor()).abs().max() <= 1
    assert (mean.exp().sum((2, 3)) - 1).abs().max() < 0.02  # it is still a density

    regressed = average_views([TcdcnOutput(points, {}) for points in viewed], windows)
    assert isinstance(regressed, TcdcnOutput)
    torch.testing.assert_close(regressed.points_bk2, points_bk2, atol=1e-5, rtol=0)
