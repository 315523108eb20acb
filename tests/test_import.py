"""What ``import rcn_search`` costs; benchmarks/import_time.py measures the time."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"matplotlib", "numpy", "optuna", "pyarrow", "pydantic", "ray", "scipy", "torch", "typer"}


def test_import_rcn_search_loads_no_heavy_package() -> None:
    code = "import sys, rcn_search; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "rcn_search" in loaded
    assert not HEAVY & set(loaded)
