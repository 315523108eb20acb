"""How often the 95 % interval of two equal methods with a few seeds each holds 0: ours, and by resampling the seeds.

    python benchmarks/seed_coverage.py [--seeds 3] [--simulations 1000]

Simulated errors: of an image for both methods, of an image for one of them, of a seed, of a seed and image together.
An honest interval holds 0 in 95 % of cases, and the narrower of two such is the better one.

The last line is JSON: for each case of (spread of the seeds, spread of seed and image together) the share of intervals
that held 0, and their mean width, by `seeded_difference` and with resampled seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rcn_search.evaluation.bootstrap import Array, resample_groups
from rcn_search.evaluation.paired import seeded_difference

NUM_IMAGES, NUM_RESAMPLES = 200, 1000
CASES = ((0.0, 1.5), (0.1, 1.5), (0.3, 1.5), (1.0, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--simulations", type=int, default=1000)
    arguments = parser.parse_args()
    names = np.arange(NUM_IMAGES).astype(str)
    result = {}
    for of_seed, of_both in CASES:
        rng = np.random.default_rng(0)
        pairs = [_two_equal_methods(rng, arguments.seeds, of_seed, of_both) for _ in range(arguments.simulations)]
        ours = [seeded_difference(a_sn, b_sn, names, num_resamples=NUM_RESAMPLES).interval for a_sn, b_sn in pairs]
        resampled = [_with_resampled_seeds(a_sn, b_sn, rng) for a_sn, b_sn in pairs]
        case = {"ours": _summed_up(ours), "resampled": _summed_up(resampled)}
        print(f"seeds spread by {of_seed:g}, seed and image by {of_both:g}: {case}", flush=True)
        result[f"{of_seed:g}, {of_both:g}"] = case
    print(json.dumps({"seeds": arguments.seeds, "cases": result}))


def _two_equal_methods(rng: np.random.Generator, num_seeds: int, of_seed: float, of_both: float) -> tuple[Array, Array]:
    image_n, apart_n = rng.gamma(3, 2, NUM_IMAGES), rng.normal(0, 1, NUM_IMAGES)
    a_sn, b_sn = (
        image_n + rng.normal(0, of_seed, (num_seeds, 1)) + rng.normal(0, of_both, (num_seeds, NUM_IMAGES))
        for _ in range(2)
    )
    return a_sn + apart_n, b_sn


def _with_resampled_seeds(a_sn: Array, b_sn: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Percentile interval where images are drawn with replacement, and seeds of each method."""
    count_bn: NDArray[np.int64] = np.concatenate(list(resample_groups(NUM_IMAGES, NUM_RESAMPLES)))
    mean_b = np.zeros(NUM_RESAMPLES)
    for sign, error_sn in ((1, a_sn), (-1, b_sn)):
        seed_mean_bs = count_bn @ error_sn.T / NUM_IMAGES
        drawn_bs = rng.integers(0, len(error_sn), seed_mean_bs.shape)
        mean_b += sign * np.take_along_axis(seed_mean_bs, drawn_bs, axis=1).mean(axis=1)
    low, high = np.quantile(mean_b, [0.025, 0.975])
    return float(low), float(high)


def _summed_up(intervals: Sequence[tuple[float, float] | None]) -> dict[str, float]:
    ends = np.array([each for each in intervals if each is not None])
    holds = (ends[:, 0] <= 0) & (ends[:, 1] >= 0)
    return {"holds_0": round(float(holds.mean()), 3), "width": round(float((ends[:, 1] - ends[:, 0]).mean()), 3)}


if __name__ == "__main__":
    main()
