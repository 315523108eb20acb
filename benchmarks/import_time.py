"""Time of ``import rcn_search`` in a new process, without the start of Python itself.

    python benchmarks/import_time.py [--runs 15]

The last line is JSON: ``import_s``, the median over the runs, and ``python_s``, the median of ``python -c pass``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    python_s, total_s = (statistics.median(run_s(code) for _ in range(runs)) for code in ("pass", "import rcn_search"))
    print(json.dumps({"import_s": round(total_s - python_s, 4), "python_s": round(python_s, 4)}))


def run_s(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
