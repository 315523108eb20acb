from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rcn_search.evaluation.figures import difficulty as figures_difficulty
from rcn_search.evaluation.figures.comparison import MethodComparison
from rcn_search.evaluation.figures.difficulty import assign_bins, bin_by_difficulty, plot_difficulty
from rcn_search.evaluation.metrics import bootstrap_interval
from rcn_search.evaluation.protocol import subpixel


def comparison(error_pct_mn: list[list[float]], group_n: list[str] | None = None) -> MethodComparison:
    errors = np.array(error_pct_mn)
    return MethodComparison(
        methods=[f"method {index} of $1" for index in range(len(errors))],
        files=[],
        row_mn=np.tile(np.arange(errors.shape[1]), (len(errors), 1)),
        error_pct_mn=errors,
        group_n=np.array(group_n or [str(index) for index in range(errors.shape[1])]),
        protocol=subpixel("aflw", "test", "five"),
    )


@pytest.mark.parametrize(
    ("error_pct_mn", "num_bins", "bin_n"),
    [
        ([[1.0, 2, 3, 4]], 2, [0, 0, 1, 1]),
        ([[4.0, 3, 2, 1]], 2, [1, 1, 0, 0]),
        # Neither method alone decides: means 5, 4, 3, 6.
        ([[1.0, 2, 3, 4], [9, 6, 3, 8]], 2, [1, 0, 0, 1]),
        ([[1.0, 2, 3, 4, 5]], 2, [0, 0, 0, 1, 1]),
        ([[7.0, 7, 7]], 3, [0, 1, 2]),
        ([[1.0, 2]], 1, [0, 0]),
    ],
)
def test_assign_bins_by_rank_of_the_mean_error(
    error_pct_mn: list[list[float]], num_bins: int, bin_n: list[int]
) -> None:
    assert assign_bins(np.array(error_pct_mn), num_bins).tolist() == bin_n


@pytest.mark.parametrize(("num_images", "num_bins"), [(10, 3), (2995, 10), (7, 7), (100, 99)])
def test_assign_bins_of_equal_size(num_images: int, num_bins: int) -> None:
    errors = np.random.default_rng(0).uniform(1, 20, (2, num_images))
    sizes = np.bincount(assign_bins(errors, num_bins), minlength=num_bins)
    assert sizes.sum() == num_images
    assert sizes.max() - sizes.min() <= 1


def test_bin_by_difficulty_means_and_intervals() -> None:
    # Means over the methods: 2, 6, 3, (left out), 9, 5. Easiest three: images 0, 2, 5.
    one, two = [1.0, 8, 2, 5, 10, 6], [3.0, 4, 4, np.nan, 8, 4]
    groups = ["a", "b", "c", "d", "b", "c"]
    binned = bin_by_difficulty(comparison([one, two], groups), 2)
    assert binned.num_images_b.tolist() == [3, 2]
    np.testing.assert_allclose(binned.mean_pct_mb, [[3, 9], [11 / 3, 6]])
    for method, easiest in enumerate(([1.0, 2, 6], [3.0, 4, 4])):
        low, high = bootstrap_interval(np.array(easiest), np.array(["a", "c", "c"])) or (0, 0)
        assert (binned.low_pct_mb[method, 0], binned.high_pct_mb[method, 0]) == (low, high)
        assert low < binned.mean_pct_mb[method, 0] < high
    # The hardest two are of one person: there is nothing to resample.
    assert np.isnan(binned.low_pct_mb[:, 1]).all()
    assert np.isnan(binned.high_pct_mb[:, 1]).all()


def test_bin_by_difficulty_rejects_too_few_images() -> None:
    with pytest.raises(ValueError, match="2 images that are included for every method do not fill 3 bins"):
        bin_by_difficulty(comparison([[1.0, 2, np.nan], [1, 2, 3]]), 3)


def test_plot_difficulty_draws_means_and_intervals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    compared = comparison(rng.uniform(1, 20, (3, 40)).tolist())
    binned = bin_by_difficulty(compared, 4)
    uri = str(tmp_path / "difficulty.png")
    plot_difficulty(compared, binned, uri)
    assert Image.open(uri).format == "PNG"
    drawn: list[Figure] = []
    monkeypatch.setattr(figures_difficulty.style, "save_figure", lambda figure, uri: drawn.append(figure))
    plot_difficulty(compared, binned, uri)
    (axes,) = drawn[0].axes
    for index, container in enumerate(axes.containers):
        line, _, (bars,) = container.lines
        np.testing.assert_allclose(line.get_ydata(), binned.mean_pct_mb[index])
        assert (np.asarray(line.get_xdata()) // 25).tolist() == [0, 1, 2, 3]
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, np.stack([binned.low_pct_mb[index], binned.high_pct_mb[index]], axis=1))
    assert len(axes.containers) == 3
    assert "aflw test: 40 images, 4 bins of 10" in drawn[0].get_suptitle()


@pytest.mark.parametrize("errors", [[[0.0, 0, 0]], [[3.0, 3, 3], [3, 3, 3]]])
def test_plot_difficulty_draws_perfect_and_equal_methods(errors: list[list[float]], tmp_path: Path) -> None:
    compared = comparison(errors)
    plot_difficulty(compared, bin_by_difficulty(compared, 3), str(tmp_path / "a.png"))
    assert Image.open(tmp_path / "a.png").format == "PNG"
