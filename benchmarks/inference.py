"""A face, and 64 faces, from crops to points: PyTorch beside ONNX Runtime and OpenVINO, by number of threads.

The checkpoint is exported to both first, which fails if they give other points. Then the three take turns, so that a
load that comes and goes slows all of them; times are medians over the rounds of medians over runs. All are in fp32,
with contrast normalization and decoding. The last line is JSON.

    python benchmarks/inference.py runs/rcn6/best.safetensors [--threads 1 2] [--batches 1 64] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import rcn_search
from rcn_search.inference.export.export import export_network
from rcn_search.inference.export.exported_predictor import session_latency_ms
from rcn_search.inference.export.latency_table import TorchSession
from rcn_search.inference.export.runtimes import ExportedFile, Session, open_session
from rcn_search.inference.predictor import Predictor
from rcn_search.machine import num_cpus


def export(predictor: Predictor, model: str, folder: str) -> list[ExportedFile]:
    """Export a network to both formats."""
    onnx = export_network(predictor, model, str(Path(folder) / "network.onnx"), target="onnx")
    openvino = export_network(predictor, model, str(Path(folder) / "network.xml"), target="openvino")
    return [onnx.content, openvino.content]


def measure(sessions: list[Session], batch_size: int, rounds: int) -> dict[str, float]:
    """Milliseconds of a batch by runtime."""
    times_ms: dict[str, list[float]] = {session.name: [] for session in sessions}
    for _ in range(rounds):
        for session in sessions:
            times_ms[session.name].append(session_latency_ms(session, batch_size=batch_size))
    return {name: statistics.median(of_rounds) for name, of_rounds in times_ms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="checkpoint, or name of packaged weights")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, num_cpus()}))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    predictor = rcn_search.load(options.model)
    table = Table("threads", "faces", "runtime", "ms", "faces/s", "times PyTorch", title=f"torch {torch.__version__}")
    results: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        exported = export(predictor, options.model, folder)
        for num_threads in options.threads:
            torch.set_num_threads(num_threads)
            sessions = [open_session(file, num_threads) for file in exported]
            sessions.insert(0, TorchSession(predictor, sessions[0]))
            for batch in options.batches:
                time_ms = measure(sessions, batch, options.rounds)
                for name, ms in time_ms.items():
                    ratio = time_ms["PyTorch"] / ms
                    cells = str(num_threads), str(batch), name, f"{ms:.2f}", f"{1e3 * batch / ms:.0f}", f"{ratio:.2f}"
                    table.add_row(*cells)
                    results.append({"threads": num_threads, "batch": batch, "runtime": name, "ms": round(ms, 3)})
    Console().print(table)
    print(json.dumps({"latencies": results}))


if __name__ == "__main__":
    main()
