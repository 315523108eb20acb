"""How long drawing a face takes, in processor time: in all, and in each of its steps.

python benchmarks/drawn_faces.py --faces 200
git worktree add /tmp/before HEAD~1
python benchmarks/drawn_faces.py --faces 200 --against /tmp/before   # both in turn, and whether the faces are the same
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rcn_search.data import synthetic
from rcn_search.data.synthetic import accessories, draw_face, render, scene
from rcn_search.keypoints import keypoint_schema

STEPS = (
    *((synthetic, name) for name in ("random_traits", "landmarks_xyz", "frame", "render_head", "photograph")),
    *((render, name) for name in ("paint_chart", "_shade", "enlarge", "_drop")),  # parts of render_head
    *((scene, name) for name in ("background", "bystanders", "body")),
    *((accessories, name) for name in ("wear_glasses", "occlude")),
)


def draw(num_faces: int) -> float:
    """Processor time of a face, in milliseconds."""
    started = time.process_time()
    for seed in range(num_faces):
        draw_face(seed, keypoint_schema("five"))
    return 1e3 * (time.process_time() - started) / num_faces


def digest(num_faces: int) -> str:
    """Hash of faces with their points."""
    faces = [draw_face(seed, keypoint_schema("ibug68")) for seed in range(num_faces)]
    parts = [part.tobytes() for face in faces for part in (face.image, face.points, face.visible)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def serve() -> None:
    """Answer lines of the standard input, each a number of faces: by the time of one face, or by a digest."""
    for line in sys.stdin:
        task, num_faces = line.split()
        print({"draw": draw, "digest": digest}[task](int(num_faces)), flush=True)


def compare(num_faces: int, other: Path) -> None:
    """Let two checkouts draw the same faces in turn, and print the ratio of their times."""
    here = Path(__file__).resolve()
    checkouts = {"before": other.resolve(), "now": here.parents[1]}
    workers = {
        name: subprocess.Popen(
            [sys.executable, str(here), "--serve"],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, checkout in checkouts.items()
    }

    def ask(name: str, task: str, count: int) -> str:
        worker = workers[name]
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(f"{task} {count}\n")
        worker.stdin.flush()
        return worker.stdout.readline().strip()

    same = len({ask(name, "digest", num_faces) for name in workers}) == 1
    times_ms = {name: [float(ask(name, "draw", max(num_faces // 10, 1)))] for name in workers}
    for _ in range(9):
        for name, values in times_ms.items():
            values.append(float(ask(name, "draw", max(num_faces // 10, 1))))
    for worker in workers.values():
        worker.communicate()
    for name, values in times_ms.items():
        print(f"{name:>6} {statistics.median(values):.2f} ms a face (from {min(values):.2f} to {max(values):.2f})")
    ratios = [before / now for before, now in zip(times_ms["before"], times_ms["now"], strict=True)]
    speedup, verdict = statistics.median(ratios), "equal" if same else "DIFFERENT"
    print(f"{speedup:.2f} times as fast (median of {len(ratios)} pairs); faces: {verdict}")


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
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout to compare with")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    num_faces = options.faces
    if options.serve:
        serve()
        return
    if options.against:
        compare(num_faces, options.against)
        return
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
