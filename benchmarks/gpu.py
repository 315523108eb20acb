"""What one GPU does with this package, in ten minutes: training, trials beside each other, memory, time to a result.

    device      what it is, its measured peak of bf16 matrix products and its measured memory bandwidth
    steps       images/s of RCN-6's whole training step, eager, as a graph and compiled, at batch 64 and larger ones
                (compiled at 64 and the best of these), and the share of the counted bound: all that operations of the
                eager step read and write, each once, at the measured bandwidth
    trials      the same as 1, 2, 4, 8 and 16 processes at once, each with its share of the memory
    memory      whether a process with a share of the GPU's memory is stopped at its share, and trains on
    workers     two processes that train one run, over NCCL; on the CPU over gloo; skipped with one GPU
    denoiser    faces/s of the paper's denoiser
    training    seconds of training until 6.0 and 5.6 % on AFLW: whole runs of more and more epochs, each evaluated once
                (these are test evaluations, and are counted in the output)

Nothing here imports Ray. It needs torch, NumPy, SciPy, Pillow, pyarrow, pydantic, psutil, safetensors, PyYAML and
filelock. Each section prints its result as JSON as soon as it is there, and a section that fails prints its error. The
last line is JSON with all of them.

    python benchmarks/gpu.py --data data/mtfl [--only steps trials] [--minutes 10]
    python benchmarks/gpu.py --data DATA --test-split test --device cpu --small    # the same code, in a minute
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import Split, open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.metrics import image_errors
from rcn_search.evaluation.predict_split import predict_split
from rcn_search.evaluation.score import protocols_for
from rcn_search.inference.predictor import load
from rcn_search.keypoints import FIVE, IBUG68, KeypointSchema
from rcn_search.models.complexity import multiply_adds
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.distributed import (
    SINGLE_PROCESS,
    DistributedContext,
    connect_store,
    create_store,
    join_group,
    leave_group,
)
from rcn_search.training.memory import limit_memory
from rcn_search.training.state import TrainState
from rcn_search.training.train import train

TARGETS_PCT = (6.0, 5.6)
WARM_UP_STEPS = 6


@dataclass(frozen=True)
class Size:
    """How much of everything: the real thing, or what a CPU does in a minute."""

    rcn: dict[str, Any]
    denoiser: dict[str, Any]
    kinds: tuple[str, ...]
    batches: tuple[int, ...]
    processes: tuple[int, ...]
    epochs: tuple[int, ...]
    seconds: float  # of each measurement
    matrix_px: int
    copied_bytes: int


REAL = Size(
    {"name": "rcn", "branches": 6},
    {"name": "denoiser"},
    ("eager", "graph", "compiled"),
    (64, 256, 1024, 2048, 4096, 8192),
    (1, 2, 4, 8, 16),
    (8, 15, 30, 60, 120, 240),
    3.0,
    8192,
    2**30,
)
SMALL = Size(
    {"name": "rcn", "branches": 3, "channels": 8},
    {"name": "denoiser", "channels": 4, "kernel_px": 9, "num_corrupted_points": 2},
    ("eager", "graph", "compiled"),
    (4, 8),
    (2,),
    (1, 2),
    0.05,
    64,
    2**16,
)


class CountBytes(TorchDispatchMode):
    """Counts what operations would read and write if each did so once; views cost nothing."""

    num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.num_bytes += sum(map(_bytes_of, (*args, *(kwargs or {}).values(), result)))
        return result


def _bytes_of(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes_of, value)) if isinstance(value, list | tuple) else 0


class Bench:
    """The sections, on one device."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        self.size: Size = SMALL if options.small else REAL
        self.is_gpu = self.device.type == "cuda"
        self.precision = "bf16" if self.is_gpu else "fp32"
        self.peak: dict[str, float] = {}

    def wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def seconds_of(self, action: Callable[[], object], seconds: float) -> float:
        """Mean seconds of an action, from as many calls as take ``seconds``, waiting for the device once."""
        for _ in range(WARM_UP_STEPS):
            action()
        self.wait()
        count, calls, started = 0, 1, time.perf_counter()
        while True:
            for _ in range(calls):
                action()
            self.wait()
            count, spent_s = count + calls, time.perf_counter() - started
            if spent_s >= seconds:
                return spent_s / count
            calls = max(1, min(2 * calls, round(count * (seconds - spent_s) / spent_s)))

    def state(
        self, kind: str, batch: int, model: dict[str, Any], distributed: DistributedContext = SINGLE_PROCESS
    ) -> TrainState:
        """The training state of a run on random faces that stay on the device."""
        schema = IBUG68 if model["name"] == "denoiser" and not self.options.small else FIVE
        config = TrainConfig.model_validate(
            {"data": {"uri": "random"}, "model": model, "schedule": {"batch_size": batch}, "recipe": "fast"}
        )
        settings = ComputeSettings(
            device=str(self.device), precision=self.precision, channels_last=True, threads=1, step=kind
        )
        split = random_split(max(2 * batch, 8), schema).to(self.device)
        return TrainState(config, split, schema, settings, num_steps=10**6, distributed=distributed)

    def step(self, state: TrainState, batch: int) -> Callable[[], Tensor]:
        """The step of the training loop on all rows of the split in turn."""
        num_rows = state.split.num_rows
        rows_n = torch.arange(num_rows, device=self.device)
        draws = state.task.random_draws(num_rows, seed=0, epoch=0)
        batches = [(rows_n[i : i + batch], draws[i : i + batch]) for i in range(0, num_rows - batch + 1, batch)]

        def stream() -> Iterator[tuple[Tensor, Tensor]]:
            while True:
                yield from batches

        rows = stream()
        return lambda: state.train_step(*next(rows), batch * state.distributed.world_size)

    # --- sections ------------------------------------------------------------------------------------------------

    def measure_device(self) -> dict[str, Any]:
        side, dtype = self.size.matrix_px, torch.bfloat16 if self.is_gpu else torch.float32
        left, right = (torch.rand(side, side, device=self.device, dtype=dtype) for _ in range(2))
        source = torch.empty(self.size.copied_bytes, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        matrix_s = self.seconds_of(lambda: torch.mm(left, right), self.size.seconds / 3)
        copy_s = self.seconds_of(lambda: target.copy_(source), self.size.seconds / 3)
        self.peak = {
            "matrix_tflop_s": 2e-12 * side**3 / matrix_s,
            "bandwidth_tb_s": 2e-12 * self.size.copied_bytes / copy_s,
        }
        name = torch.cuda.get_device_name(self.device) if self.is_gpu else "CPU"
        return {"name": name, "torch": torch.__version__, "cuda": torch.version.cuda, **rounded(self.peak)}

    def measure_steps(self) -> dict[str, Any]:
        peak = self.peak or (self.measure_device() and self.peak)
        counted = self._counted(self.size.batches[0])
        bound = min(1e12 * peak["bandwidth_tb_s"] / counted["bytes"], 1e12 * peak["matrix_tflop_s"] / counted["flop"])
        speeds: dict[str, dict[str, float | str]] = {kind: {} for kind in self.size.kinds}
        for kind in self.size.kinds:
            batches = self.size.batches
            if kind == "compiled":  # each batch is compiled anew
                batches = tuple(dict.fromkeys((batches[0], fastest(speeds)["batch"])))
            for batch in batches:
                try:
                    step = self.step(self.state(kind, batch, self.size.rcn), batch)
                    speeds[kind][str(batch)] = round(batch / self.seconds_of(step, self.size.seconds), 1)
                except (torch.OutOfMemoryError, RcnSearchError) as error:
                    speeds[kind][str(batch)] = str(error).splitlines()[0]
                    break
        best = fastest(speeds)
        return {
            "img_s": speeds,
            "best": best,
            "mb_per_img": round(1e-6 * counted["bytes"], 2),
            "gflop_per_img": round(1e-9 * counted["flop"], 3),
            "bound_img_s": round(bound),
            "share_of_bound": round(best["img_s"] / bound, 3),
        }

    def _counted(self, batch: int) -> dict[str, float]:
        """Bytes and floating-point operations of an eager training step for one image."""
        state = self.state("eager", batch, self.size.rcn)
        step = self.step(state, batch)
        step()
        with CountBytes() as counter:
            step()
        flop = 3 * 2 * multiply_adds(state.network, state.config.input.size_px)
        return {"bytes": counter.num_bytes / batch, "flop": flop}

    def measure_trials(self) -> dict[str, Any]:
        results: dict[str, Any] = {}
        for count in self.size.processes:
            speeds = self.at_once([["--worker", "trial", "--share", str(1 / count)]] * count)
            results[str(count)] = {"img_s": round(sum(speeds), 1), "slowest": min(speeds), "fastest": max(speeds)}
        return results

    def measure_memory(self) -> dict[str, Any]:
        if not self.is_gpu:
            return {"skipped": "no GPU"}
        (bytes_of_share,) = self.at_once([["--worker", "memory", "--share", "0.25"]])
        return {"share": 0.25, "refused_beyond_gib": round(bytes_of_share / 2**30, 2)}

    def measure_workers(self) -> dict[str, Any]:
        if self.is_gpu and torch.cuda.device_count() < 2:
            return {"skipped": "one GPU"}
        store = create_store("127.0.0.1")
        port, world = str(store.port), 2
        speeds = self.at_once([["--worker", "rank", "--port", port, "--rank", str(rank)] for rank in range(world)])
        (alone,) = self.at_once([["--worker", "trial", "--share", "1"]])
        together = statistics.mean(speeds)  # each counts the images of both
        return {"img_s": round(together, 1), "times_one": round(together / alone, 2)}

    def measure_denoiser(self) -> dict[str, Any]:
        speeds: dict[str, Any] = {}
        batch = self.size.batches[0]
        for kind in ("eager", "graph"):
            state = self.state(kind, batch, self.size.denoiser)
            speeds[kind] = round(batch / self.seconds_of(self.step(state, batch), self.size.seconds), 2)
        return {"faces_s": speeds, "batch": batch}

    def measure_training(self) -> dict[str, Any]:
        if not self.options.data:
            return {"skipped": "no --data"}
        runs: list[dict[str, Any]] = []
        for epochs in self.size.epochs:
            if time.perf_counter() > self.options.deadline:
                break
            runs.append(self._train_and_evaluate(epochs))
            if runs[-1]["test_pct"] <= min(TARGETS_PCT):
                break
        seconds = {
            str(target): min((run["train_s"] for run in runs if run["test_pct"] <= target), default=None)
            for target in TARGETS_PCT
        }
        return {"seconds_to_pct": seconds, "runs": runs, "test_evaluations": len(runs)}

    def _train_and_evaluate(self, epochs: int) -> dict[str, Any]:
        config = TrainConfig.model_validate(
            {
                "data": {"uri": self.options.data},
                "model": self.size.rcn,
                "optimizer": {"name": "muon", "lr": 2.5e-3, "weight_decay": 1e-4},
                "schedule": {"epochs": epochs},
                "compute": {"device": str(self.device), "threads": 1} | ({} if self.is_gpu else {"precision": "fp32"}),
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            result = train(config, str(Path(folder) / "run"))
            wall_s = time.perf_counter() - started
            predictions = predict_split(
                load(result.checkpoint), open_dataset(self.options.data), self.options.test_split, method="RCN-6"
            )
        (protocol,) = (each for each in protocols_for(predictions) if each.name == "rcn2016")
        errors = image_errors(predictions, protocol)
        last = result.history[-1]
        return {
            "epochs": epochs,
            "val_pct": round(result.best_error_pct, 3),
            "test_pct": round(float(errors.error_pct_n[errors.is_included_n].mean()), 3),
            "train_s": round(sum(report.train_s for report in result.history), 2),
            "wall_s": round(wall_s, 2),
            "last_img_s": round(last.images_per_s),
        }

    # --- processes -----------------------------------------------------------------------------------------------

    def at_once(self, argument_lists: list[list[str]]) -> list[float]:
        """Run workers that begin to measure together; return what each prints last."""
        common = [sys.executable, __file__, "--device", str(self.device), *(["--small"] if self.options.small else [])]
        workers = [
            subprocess.Popen([*common, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for more in argument_lists
        ]
        for worker in workers:
            assert worker.stdout
            if worker.stdout.readline().strip() != "ready":
                for each in workers:
                    each.kill()
                raise RuntimeError(f"a process with {argument_lists[0]} did not start")
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        outputs = [worker.communicate() for worker in workers]
        return [float(output.splitlines()[-1]) for output, _ in outputs]


def worker(bench: Bench) -> None:
    """Be one of the processes of `Bench.at_once`."""
    options, batch = bench.options, bench.size.batches[0]
    limit_memory(options.share)
    context = SINGLE_PROCESS
    if options.worker == "rank":
        if bench.is_gpu:
            bench.device = torch.device("cuda", options.rank)
            torch.cuda.set_device(bench.device)
        context = join_group(connect_store("127.0.0.1", options.port), options.rank, 2, bench.device.type)
    kind = "eager" if options.worker == "rank" or not bench.is_gpu else "graph"
    step = bench.step(bench.state(kind, batch, bench.size.rcn, context), batch)
    for _ in range(WARM_UP_STEPS):
        step()
    bench.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    if options.worker == "memory":
        print(refused_bytes(bench, step))
        return
    if options.worker == "rank":  # as many steps in each process, since they wait for each other
        started, count = time.perf_counter(), 20
        for _ in range(count):
            step()
        bench.wait()
        print(round(2 * batch * count / (time.perf_counter() - started), 1), flush=True)
        leave_group()
        return
    print(round(batch / bench.seconds_of(step, bench.size.seconds), 1))


def refused_bytes(bench: Bench, step: Callable[[], Tensor]) -> int:
    """Take memory until it is refused; free it, and see that the process can still train."""
    taken: list[Tensor] = []
    try:
        while True:
            taken.append(torch.empty(2**28, dtype=torch.uint8, device=bench.device))
    except torch.OutOfMemoryError:
        refused = torch.cuda.memory_reserved(bench.device)
    taken.clear()
    torch.cuda.empty_cache()
    assert float(step()) > 0
    return refused


def random_split(num_rows: int, schema: KeypointSchema) -> Split:
    """Noise with points, as large as stored crops."""
    generator = torch.Generator().manual_seed(0)
    names = np.array([str(row) for row in range(num_rows)])
    points_nk2 = 40 + 80 * torch.rand(num_rows, schema.num_points, 2, generator=generator)
    return Split(
        images=(torch.randint(256, (num_rows, 160, 160), dtype=torch.uint8, generator=generator),),
        points_nk2=points_nk2,
        visible_nk=torch.ones(num_rows, schema.num_points, dtype=torch.bool),
        face_box_n4=torch.tensor([30.0, 30.0, 100.0, 100.0]).repeat(num_rows, 1),
        box_n4=np.tile(np.float32([0, 0, 160, 160]), (num_rows, 1)),
        image_id_n=names,
        group_n=names,
        attributes={},
        edge_nk=torch.zeros(num_rows, schema.num_points, dtype=torch.uint8),
        photo_n4=torch.tensor([0.0, 0.0, 160.0, 160.0]).repeat(num_rows, 1),
    )


def fastest(speeds: dict[str, dict[str, float | str]]) -> dict[str, Any]:
    """The fastest kind of step and batch; messages in place of a speed do not count."""
    measured = [
        {"img_s": speed, "kind": kind, "batch": int(batch)}
        for kind, of_batch in speeds.items()
        for batch, speed in of_batch.items()
        if isinstance(speed, float)
    ]
    return max(measured, key=lambda one: one["img_s"])


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Three significant digits."""
    return {name: float(f"{value:.3g}") for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="MTFL with AFLW, for the section training")
    parser.add_argument("--test-split", default="aflw")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", help="sections, in this order")
    parser.add_argument("--minutes", type=float, default=9, help="no training begins, and no section, after them")
    parser.add_argument("--small", action="store_true", help="the smallest form of everything; an error ends it")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.deadline = time.perf_counter() + 60 * options.minutes
    torch.set_num_threads(1)
    bench = Bench(options)
    if options.worker:
        worker(bench)
        return
    results: dict[str, Any] = {}
    sections = ("device", "steps", "trials", "memory", "training", "denoiser", "workers")
    for name in options.only or sections:
        started = time.perf_counter()
        if started > options.deadline:
            results[name] = {"skipped": "no time left"}
        else:
            try:
                results[name] = getattr(bench, f"measure_{name}")()
            except Exception as error:
                if options.small:
                    raise
                results[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
        results[name]["section_s"] = round(time.perf_counter() - started, 1)
        print(json.dumps({name: results[name]}), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
