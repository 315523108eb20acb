from __future__ import annotations

import numpy as np
import pytest

from rcn_search.evaluation.bootstrap import Array
from rcn_search.evaluation.paired import Difference, Names, paired_difference, seeded_difference


def simulated(rng: np.random.Generator, num_groups: int, gap: float = 0.0) -> tuple[Array, Array, Names]:
    """Errors of two methods: images of a group share how hard they are, and which of the two finds them harder."""
    size_g = rng.integers(1, 4, num_groups)
    index_n = np.repeat(np.arange(num_groups), size_g)
    shared_g, apart_g = rng.gamma(3, 2, num_groups), rng.normal(gap, 1, num_groups)
    b_n = shared_g[index_n] + rng.normal(0, 0.5, len(index_n))
    a_n = b_n + apart_g[index_n] + rng.normal(0, 0.5, len(index_n))
    return a_n, b_n, index_n.astype(str)


@pytest.mark.parametrize(
    ("mean", "interval", "text"),
    [
        (0.4, (0.31, 0.49), "0.40 points (95 % interval 0.31 to 0.49)"),
        (-0.4, (-0.49, 0.1), "0.40 points (95 % interval -0.10 to 0.49)"),
        (0.0, (-0.1, 0.2), "0.00 points (95 % interval -0.10 to 0.20)"),
    ],
)
def test_difference_as_text_has_no_sign(mean: float, interval: tuple[float, float], text: str) -> None:
    assert str(Difference(mean, interval, 0.5)) == text


class TestPairedDifference:
    def test_agrees_with_a_slow_loop_over_images(self) -> None:
        a_n, b_n, group_n = simulated(np.random.default_rng(2), 40)
        members = {name: [i for i, group in enumerate(group_n) if group == name] for name in sorted(set(group_n))}
        rng = np.random.default_rng(99)
        means = []
        for _ in range(4000):
            drawn = rng.choice(sorted(members), len(members))
            images = [image for name in drawn for image in members[name]]
            means.append(np.mean([a_n[image] - b_n[image] for image in images]))
        means.sort()

        difference = paired_difference(a_n, b_n, group_n)

        spread = float(np.std(means))
        assert difference.mean == pytest.approx((a_n - b_n).mean())
        assert difference.interval == pytest.approx((means[100], means[3899]), abs=0.15 * spread)
        tail = min(np.mean(np.array(means) <= 0), np.mean(np.array(means) >= 0))
        assert difference.p == pytest.approx(2 * tail, abs=0.05)

    def test_equal_methods_have_nominal_coverage_and_p(self) -> None:
        rng = np.random.default_rng(3)
        differences = [paired_difference(*simulated(rng, 60), num_resamples=400) for _ in range(600)]

        assert 0.92 < np.mean([difference.is_tie for difference in differences]) < 0.97
        assert 0.42 < np.mean([difference.p < 0.5 for difference in differences if difference.p is not None]) < 0.58

    def test_repeated_images_of_a_group_do_not_narrow_the_interval(self) -> None:
        a_n, b_n, group_n = simulated(np.random.default_rng(4), 50)

        once = paired_difference(a_n, b_n, group_n)
        thrice = paired_difference(*(np.tile(array, 3) for array in (a_n, b_n, group_n)))

        assert thrice.interval == pytest.approx(once.interval)

    def test_real_difference_is_significant(self) -> None:
        a_n, b_n, group_n = simulated(np.random.default_rng(5), 400, gap=0.4)

        difference = paired_difference(a_n, b_n, group_n)

        assert not difference.is_tie
        assert difference.p is not None
        assert difference.p < 0.001

    def test_p_counts_the_observation_as_one_more_resample(self) -> None:
        a_n, b_n, group_n = simulated(np.random.default_rng(5), 400, gap=0.4)

        assert paired_difference(a_n, b_n, group_n, num_resamples=399).p == 2 / 400

    def test_identical_methods_tie(self) -> None:
        a_n, _, group_n = simulated(np.random.default_rng(6), 30)

        difference = paired_difference(a_n, a_n, group_n)

        assert difference == (0, (0, 0), 1)
        assert difference.is_tie

    def test_images_without_an_error_are_left_out_for_both_methods(self) -> None:
        a_n, b_n, group_n = simulated(np.random.default_rng(7), 30)
        with_gaps_n = a_n.copy()
        with_gaps_n[[3, 8]] = np.nan

        finite_n = np.isfinite(with_gaps_n)
        expected = paired_difference(a_n[finite_n], b_n[finite_n], group_n[finite_n])
        assert paired_difference(with_gaps_n, b_n, group_n) == expected
        assert paired_difference(b_n, with_gaps_n, group_n).mean == -expected.mean

    def test_single_group_has_no_interval(self) -> None:
        difference = paired_difference(np.array([3.0, 4.0]), np.array([1.0, 1.0]), np.array(["one", "one"]))

        assert difference == (2.5, None, None)
        assert difference.is_tie

    def test_no_common_image_is_an_error(self) -> None:
        names = np.array(["one", "two"])
        with pytest.raises(ValueError, match="nothing to compare"):
            paired_difference(np.array([np.nan, 1]), np.array([1, np.nan]), names)
        with pytest.raises(ValueError, match="in groups of shape"):
            paired_difference(np.ones(3), np.ones(3), names)


class TestSeededDifference:
    def simulated(
        self, rng: np.random.Generator, num_seeds: int, *, of_seed: float, of_both: float
    ) -> tuple[Array, Array, Names]:
        """Errors of two equal methods by seed and image: of the image, of the seed, and of both together."""
        image_n, apart_n = rng.gamma(3, 2, 120), rng.normal(0, 1, 120)
        errors = [
            image_n + rng.normal(0, of_seed, (num_seeds, 1)) + rng.normal(0, of_both, (num_seeds, 120))
            for _ in range(2)
        ]
        return errors[0] + apart_n, errors[1], np.arange(120).astype(str)

    @pytest.mark.parametrize(("of_seed", "of_both"), [(0.0, 1.5), (0.1, 1.5), (0.5, 0.5), (1.0, 0.0)])
    def test_coverage_is_nominal_for_every_source_of_seed_variance(self, of_seed: float, of_both: float) -> None:
        rng = np.random.default_rng(11)
        ties = [
            seeded_difference(*self.simulated(rng, 3, of_seed=of_seed, of_both=of_both), num_resamples=400).is_tie
            for _ in range(500)
        ]

        assert 0.91 < np.mean(ties) < 0.975

    def test_seed_spread_widens_the_interval_by_student_t(self) -> None:
        # No image differs from another in what the seeds and methods make of it: all that is left is a t test.
        image_n, a_s, b_s = np.arange(50.0), np.array([0.1, 0.5, 0.6]), np.array([0.0, 0.3, 0.1])
        variance = (a_s.var() * 3 + b_s.var() * 3) / 4

        difference = seeded_difference(
            image_n + a_s[:, None], image_n + b_s[:, None], image_n.astype(str), num_resamples=200_000
        )

        mean, half = a_s.mean() - b_s.mean(), 2.7764 * np.sqrt(variance * 2 / 3)  # of t with four degrees of freedom
        assert difference.mean == pytest.approx(mean)
        assert difference.interval == pytest.approx((mean - half, mean + half), abs=0.01)
        assert difference.is_tie

    def test_part_of_the_images_in_the_seed_spread_is_that_of_a_sample(self) -> None:
        # Two seeds of `a`, 0.2 above and below their mean, and 0.3 up or down from that on two of three images.
        # Their variance 0.04 holds 0.09 * 2 / 3**2 * 3 / (3 - 1) = 0.03 of the images, which resampling covers.
        image_n, apart_n = np.array([4.0, 5.0, 6.0]), np.array([0.2 - 0.3, 0.2, 0.2 + 0.3])
        a_sn, b_sn = np.stack([image_n + apart_n, image_n - apart_n]), np.stack([image_n, image_n])

        difference = seeded_difference(a_sn, b_sn, np.array(["x", "y", "z"]), num_resamples=200_000)

        half = 4.3027 * np.sqrt(0.04 - 0.03)  # of t with two degrees of freedom
        assert difference.mean == pytest.approx(0)
        assert difference.interval == pytest.approx((-half, half), abs=0.02)

    def test_one_seed_each_equals_paired_difference(self) -> None:
        a_n, b_n, group_n = simulated(np.random.default_rng(12), 30)

        assert seeded_difference(a_n[None], b_n[None], group_n) == paired_difference(a_n, b_n, group_n)
        with_seeds = seeded_difference(np.stack([a_n, a_n + 0.4]), b_n[None], group_n)
        plain = paired_difference(a_n + 0.2, b_n, group_n)
        assert with_seeds.mean == pytest.approx(plain.mean)
        assert with_seeds.interval is not None
        assert plain.interval is not None
        assert with_seeds.interval[0] < plain.interval[0] < plain.interval[1] < with_seeds.interval[1]

    def test_real_difference_is_significant_and_no_difference_is_not(self) -> None:
        a_sn, b_sn, group_n = self.simulated(np.random.default_rng(13), 3, of_seed=0.05, of_both=1.0)

        assert not seeded_difference(a_sn + 1, b_sn, group_n).is_tie
        assert seeded_difference(a_sn, a_sn, group_n).is_tie

    def test_image_without_an_error_for_one_seed_is_left_out(self) -> None:
        a_sn, b_sn, group_n = self.simulated(np.random.default_rng(14), 3, of_seed=0.1, of_both=1.0)
        with_gap_sn = a_sn.copy()
        with_gap_sn[1, 0] = np.nan

        assert seeded_difference(with_gap_sn, b_sn, group_n) == seeded_difference(a_sn[:, 1:], b_sn[:, 1:], group_n[1:])
        with pytest.raises(ValueError, match="nothing to compare"):
            seeded_difference(a_sn * np.nan, b_sn, group_n)
