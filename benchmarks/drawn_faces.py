"""How long drawing a face takes, in processor time: in all, and in each of its steps.

python benchmarks/drawn_faces.py --faces 200
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rcn_search.data import synthetic
from rcn_search.data.synthetic import accessories, draw_face, render, scene
from rcn_search.keypoints import keypoint_schema

STEPS = (
    *((synthetic, name) for name in ("random_traits", "landmarks_xyz", "frame", "render_head", "photograph")),
    *((render, name) for name in ("paint_chart", "_shade", "_enlarge", "_drop")),  # parts of render_head
    *((scene, name) for name in ("background", "bystanders", "body")),
    *((accessories, name) for name in ("wear_glasses", "occlude")),
)


def draw(num_faces: int) -> float:
    """Processor time of a face, in milliseconds."""
    started = time.process_time()
    for seed in range(num_faces):
        draw_face(seed, keypoint_schema("five"))
    return 1e3 * (time.process_time() - started) / num_faces


def time_steps(num_faces: int) -> dict[str, float]:
    """Processor time of each step in milliseconds a face; the clock itself costs some of it."""
    spent_s = dict.fromkeys((name for _, name in STEPS), 0.0)

    def timed(name, function):
        def call(*arguments, **options):
            started = time.process_time()
            result = function(*arguments, **options)
            spent_s[name] += time.process_time() - started
            return result

        return call

    for module, name in STEPS:
        setattr(module, name, timed(name, getattr(module, name)))
    draw(num_faces)
    return {name: 1e3 * seconds / num_faces for name, seconds in spent_s.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=200)
    num_faces = parser.parse_args().faces
    draw(5)  # textures are made once
    times_ms = [draw(max(num_faces // 4, 1)) for _ in range(4)]
    median_ms = statistics.median(times_ms)
    print(
        f"{median_ms:.2f} ms a face (from {min(times_ms):.2f} to {max(times_ms):.2f}), {1e3 / median_ms:.0f} a second"
    )
    for name, time_ms in sorted(time_steps(num_faces).items(), key=lambda item: -item[1]):
        print(f"{name:>16} {time_ms:6.3f} ms")


if __name__ == "__main__":
    main()
