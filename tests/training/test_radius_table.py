from __future__ import annotations

import numpy as np
import pytest
from crepes import ConformalRegressor
from pydantic import ValidationError

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.training.radius_table import (
    COVERAGE,
    IMAGES_PER_BIN,
    PointRadii,
    RadiusTable,
    bin_edges,
    conformal_quantile,
    fit_radii,
)
from tests.support.checkpoints import checkpoint_info


def table_of(points: tuple[PointRadii, ...]) -> RadiusTable:
    return RadiusTable(made_with={}, data_fingerprint="f", split="val", num_images=9, points=points)


def drawn(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances of two points that are the longer, the less confident the points are; not every point is labeled."""
    rng = np.random.default_rng(seed)
    confidence_nk = rng.beta(2, 2, (num_images, 2)).astype(np.float32)
    distance_nk = rng.rayleigh(0.01 + 0.1 * (1 - confidence_nk))
    distance_nk[rng.random((num_images, 2)) < 0.1] = np.nan
    return distance_nk, confidence_nk


@pytest.mark.parametrize(
    ("num", "rank"), [(9, 9), (10, 10), (18, 18), (19, 18), (29, 27), (99, 90), (100, 91), (109, 99), (999, 900)]
)
def test_conformal_quantile_is_the_corrected_order_statistic(num: int, rank: int) -> None:
    distances = np.random.default_rng(0).permutation(num) + 1.0
    assert conformal_quantile(distances) == rank


@pytest.mark.parametrize("num_images", [9, 57, 150, 400, 1234])
def test_fit_radii_equal_crepes_mondrian_regressor(num_images: int) -> None:
    distance_nk, confidence_nk = drawn(num_images, 1)
    distance_nk[:9] = 0.01  # so that enough are labeled
    for k, point in enumerate(fit_radii(distance_nk, confidence_nk, ("a", "b"))):
        labeled_n = np.isfinite(distance_nk[:, k])
        bin_n = np.digitize(confidence_nk[labeled_n, k], point.edges, right=True)
        oracle = ConformalRegressor().fit(distance_nk[labeled_n, k], bins=bin_n)
        new_n = np.arange(len(point.radii))
        # A little less, because 1 - 0.9 is less than 0.1 and crepes rounds down.
        ends = oracle.predict_int(np.zeros(len(new_n)), bins=new_n, confidence=COVERAGE - 1e-9)
        np.testing.assert_allclose(point.radii, ends[:, 1])


def test_fit_radii_hold_90_pct_of_new_points_at_every_confidence() -> None:
    table = table_of(fit_radii(*drawn(4000, 1), ("a", "b")))
    distance_nk, confidence_nk = drawn(20_000, 2)
    held_nk = distance_nk <= table.look_up(confidence_nk)
    labeled_nk = np.isfinite(distance_nk)
    assert 0.88 < held_nk[labeled_nk].mean() < 0.92
    for low in (0.0, 0.25, 0.5, 0.75):
        part_nk = labeled_nk & (confidence_nk >= low) & (confidence_nk < low + 0.25)
        assert 0.87 < held_nk[part_nk].mean() < 0.93
    assert table.points[0].radii == tuple(sorted(table.points[0].radii, reverse=True))


def test_fit_radii_with_too_few_labels_names_the_point() -> None:
    distance_nk = np.full((20, 2), 0.1)
    distance_nk[8:, 1] = np.nan
    with pytest.raises(RcnSearchError, match=r"'nose' is labeled in 8 of the images: a radius of 90% needs 9"):
        fit_radii(distance_nk, np.full((20, 2), 0.5), ("eye", "nose"))


def test_bin_edges_keep_equal_confidences_together() -> None:
    assert bin_edges(np.ones(500)) == []
    assert bin_edges(np.linspace(0, 1, IMAGES_PER_BIN + 50)) == []
    halves = np.repeat([0.2, 0.9], 250)
    assert bin_edges(halves) == [0.2]
    assert bin_edges(np.append(halves[:260], np.full(600, 1.0))) == [0.2]  # ten images alone are no bin
    assert len(bin_edges(np.linspace(0, 1, 5000))) == 9


def test_look_up_belongs_to_the_bin_below_at_an_edge() -> None:
    table = table_of((PointRadii(edges=(0.5,), radii=(0.3, 0.1)), PointRadii(edges=(), radii=(0.2,))))
    confidence_nk = np.float32([[0.0, 0], [0.5, 1], [0.51, 0.5], [1, 0]])
    np.testing.assert_allclose(table.look_up(confidence_nk), [[0.3, 0.2], [0.3, 0.2], [0.1, 0.2], [0.1, 0.2]])


@pytest.mark.parametrize(
    ("edges", "radii"),
    [((0.5, 0.4), (1, 2, 3)), ((0.5, 0.5), (1, 2, 3)), ((0.5,), (1,)), ((), (-1,)), ((), (float("nan"),)), ((), ())],
)
def test_point_radii_refuse_what_is_no_table(edges: tuple[float, ...], radii: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        PointRadii(edges=edges, radii=radii)


def test_checkpoint_info_refuses_a_table_of_other_points(tiny_config: TrainConfig) -> None:
    table = table_of((PointRadii(edges=(), radii=(0.2,)),))
    with pytest.raises(ValidationError, match="a radius table of 1 points"):
        checkpoint_info(tiny_config, radius_tables=(table,))
