"""What a training step of the denoiser costs, in its forms, and what could bound it.

    direct    dense convolutions (`Denoiser.direct`), small batches only
    spectral  products of spectra (`Denoiser.spectral`): what `Denoiser` takes for large kernels

and, convolution by convolution, what it was chosen from: matrix products or `torch.fft.rfft2` for the inner layers, and
for the first one shifted kernels or phases (`fft_conv`). ``--kernels`` looks for the size of kernel from which
`spectral` is faster than `direct`.

Times are of the processor on CPU (on one thread it is what an idle core takes, whatever else runs here) and of the
clock on a GPU; the best of some rounds. Peak memory is of a process of its own. The last line is JSON.

    python benchmarks/denoiser.py [--device cpu] [--batches 4 16 64] [--rounds 3] [--kernels]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config.schema import DenoiserConfig, OptimizerConfig
from rcn_search.models import build_model
from rcn_search.models.denoiser import Denoiser
from rcn_search.models.fft_conv import Phases, ShiftedKernels, convolve
from rcn_search.training.loss import spatial_nll
from rcn_search.training.memory import keep_freed_memory_in_process
from rcn_search.training.optim import build_optimizers

NUM_POINTS, SIZE_PX = 68, 80
SIZES = {"paper": DenoiserConfig(), "narrow": DenoiserConfig(channels=16)}
FFT_PX = 104


def best_s(action: Callable[[], object], rounds: int, device: str) -> float:
    """Of some rounds, after one that warms up."""
    on_cpu = device == "cpu"
    now = time.process_time if on_cpu else time.perf_counter
    times = []
    for _ in range(rounds + 1):
        started = now()
        action()
        if not on_cpu:
            torch.cuda.synchronize()
        times.append(now() - started)
    return min(times[1:] or times)


def cells_of(batch: int, device: str) -> Tensor:
    """Half of the points of a face near its middle, half anywhere, as in training."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, SIZE_PX, (batch, NUM_POINTS, 2), generator=generator)
    cells[:, ::2] = cells[:, ::2] // 2 + SIZE_PX // 4
    return cells.to(device)


def denoiser(config: DenoiserConfig, device: str) -> Denoiser:
    model = build_model(config, num_points=NUM_POINTS, input_px=SIZE_PX)
    assert isinstance(model, Denoiser)
    return model.to(device)


def training_pass(model: Denoiser, form: str, batch: int, device: str) -> Callable[[], None]:
    """Forward, loss and backward."""
    cells, points = cells_of(batch, device), torch.rand(batch, NUM_POINTS, 2, device=device)
    weight = (torch.arange(NUM_POINTS, device=device) < 35).float().expand(batch, -1)

    def run() -> None:
        model.zero_grad()
        spatial_nll(getattr(model, form)(cells), points, 0.0, weight).backward()

    return run


def peak_gib(size: str, batch: int, device: str) -> float:
    """Largest memory of a training step, weights, gradients and optimizer with it."""
    if device == "cpu":
        command = [sys.executable, __file__, "--one-step", size, str(batch)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    torch.cuda.reset_peak_memory_stats()
    one_step(size, batch, device)
    return torch.cuda.max_memory_allocated() / 2**30


def one_step(size: str, batch: int, device: str) -> None:
    """Two whole steps with the default optimizer."""
    model = denoiser(SIZES[size], device)
    optimizers = build_optimizers(model, OptimizerConfig())
    run = training_pass(model, "spectral", batch, device)
    for _ in range(2):
        run()
        for optimizer in optimizers:
            optimizer.step()


def operations(config: DenoiserConfig, batch: int, device: str) -> tuple[float, float]:
    """GFLOP of a training pass of the large layers: dense, and as `spectral` takes them (at most: borders cut off)."""
    reach = config.kernel_px // 2
    num_rows, num_columns = (SIZE_PX + reach) // 2 + 1, SIZE_PX + reach
    dense = spectral = 0.0
    for layer, inputs in enumerate((NUM_POINTS, config.channels, config.channels)):
        outputs, passes = config.channels, 2 if layer == 0 else 3  # cells have no gradient
        dense += passes * inputs * outputs * config.kernel_px**2 * SIZE_PX**2 * batch
        if layer == 0 and device == "cpu":  # shifted kernels: additions only
            spectral += passes * batch * inputs * outputs * config.kernel_px**2 / 2
            continue

        def transform(side: int) -> int:
            return 2 * num_rows * side * side + num_rows * 2 * num_columns * 2 * side

        maps = batch * (2 * outputs + (2 * inputs if layer else 0)) * transform(SIZE_PX)
        kernels = 2 * inputs * outputs * transform(config.kernel_px)
        spectral += maps + kernels + passes * 4 * num_rows * num_columns * batch * inputs * outputs
    return 2e-9 * dense, 2e-9 * spectral


def matrix_gflops(device: str, rounds: int) -> float:
    """What fp32 matrix products make here: a bound."""
    left, right = (torch.randn(2048, 2048, device=device) for _ in range(2))
    return 2e-9 * 2048**3 / best_s(lambda: left @ right, 3 * rounds, device)


def fft_convolve(map_bihw: Tensor, weight_oikk: Tensor) -> Tensor:
    """The convolution by rfft2, its gradients by autograd."""
    size, reach = (FFT_PX, FFT_PX), weight_oikk.shape[-1] // 2
    maps, kernels = torch.fft.rfft2(map_bihw, s=size), torch.fft.rfft2(weight_oikk, s=size)
    products = torch.bmm(maps.flatten(2).permute(2, 0, 1), kernels.flatten(2).permute(2, 1, 0).conj())
    convolved = torch.fft.irfft2(products.permute(1, 2, 0).unflatten(2, maps.shape[2:]), s=size)
    return torch.roll(convolved, (reach, reach), (2, 3))[..., :SIZE_PX, :SIZE_PX]


def layers(config: DenoiserConfig, batch: int, rounds: int, device: str) -> dict[str, float]:
    """Seconds of a training pass of one convolution, by the ways it could be done."""
    channels, kernel = config.channels, config.kernel_px
    maps = torch.randn(batch, channels, SIZE_PX, SIZE_PX, device=device, requires_grad=True)
    maps_first = maps.detach().permute(2, 3, 0, 1).contiguous().requires_grad_()
    weight = torch.randn(channels, channels, kernel, kernel, device=device, requires_grad=True)
    first = torch.randn(channels, NUM_POINTS, kernel, kernel, device=device, requires_grad=True)
    cells = cells_of(batch, device)
    ways: dict[str, Callable[[], Tensor]] = {
        "inner, spectral": lambda: convolve(maps_first, weight),
        "inner, rfft2": lambda: fft_convolve(maps, weight),
        "first, phases": lambda: Phases.apply(cells, first, SIZE_PX),
        "first, shifted kernels": lambda: ShiftedKernels.apply(cells, first, SIZE_PX),
    }
    with torch.no_grad():
        expected = F.conv2d(maps[:1], weight, padding=kernel // 2)
        assert torch.allclose(fft_convolve(maps[:1], weight), expected, rtol=0, atol=1e-3 * float(expected.std()))
        table, phases = (form.apply(cells, first, SIZE_PX) for form in (ShiftedKernels, Phases))
        assert torch.allclose(table, phases, rtol=0, atol=1e-3 * float(table.std()))

    def training(way: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            maps.grad = maps_first.grad = weight.grad = first.grad = None
            out = way()
            out.backward(out.detach())

        return run

    return {name: best_s(training(way), rounds, device) for name, way in ways.items()}


def threshold(rounds: int, device: str) -> None:
    """A training pass of both forms over kernels of growing size."""
    for channels in (16, 64):
        for kernel_px in (5, 7, 9, 11, 13, 17):
            model = denoiser(DenoiserConfig(kernel_px=kernel_px, channels=channels), device)
            times = [best_s(training_pass(model, form, 8, device), rounds, device) for form in ("direct", "spectral")]
            print(
                f"kernel {kernel_px:2}, {channels} channels, batch 8: direct {times[0]:.3f}, spectral {times[1]:.3f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--direct-batch", type=int, default=1, help="of the direct form; 0: leave it out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kernels", action="store_true", help="only look for the threshold of the direct form")
    parser.add_argument("--one-step", nargs=2, metavar=("SIZE", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device, rounds = options.device, options.rounds
    torch.set_num_threads(1)
    keep_freed_memory_in_process()
    if options.one_step:
        one_step(options.one_step[0], int(options.one_step[1]), device)
        peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        print(int(peak.split()[1]) / 2**20)
        return
    if options.kernels:
        threshold(rounds, device)
        return

    bound = matrix_gflops(device, rounds)
    print(f"{device}, torch {torch.__version__}; matrix products of 2048: {bound:.0f} GFLOP/s", flush=True)
    summary: dict[str, object] = {"device": device, "matrix_gflops": round(bound)}
    for size, config in SIZES.items():
        model = denoiser(config, device)
        optimizers = build_optimizers(model, OptimizerConfig())
        if options.direct_batch:
            batch = options.direct_batch
            direct_s = best_s(training_pass(model, "direct", batch, device), 1, device)
            print(f"{size:6} direct   batch {batch:3}: {direct_s:7.2f} s, {batch / direct_s:6.2f} images/s", flush=True)
        for batch in options.batches:
            pass_s = best_s(training_pass(model, "spectral", batch, device), rounds, device)
            dense, spectral = operations(config, batch, device)
            print(
                f"{size:6} spectral batch {batch:3}: {pass_s:7.2f} s, {batch / pass_s:6.2f} images/s, "
                f"{peak_gib(size, batch, device):5.2f} GiB; {spectral:.0f} GFLOP (dense {dense:.0f}), "
                f"{spectral / pass_s:.0f} GFLOP/s, {100 * spectral / pass_s / bound:.0f} % of the bound",
                flush=True,
            )
            summary[f"{size} batch {batch}"] = {"s": round(pass_s, 2), "img_s": round(batch / pass_s, 2)}
            ways = layers(config, batch, 1, device)
            print("       ", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in ways.items()), flush=True)
        for optimizer in optimizers:
            step_s = best_s(optimizer.step, rounds, device)
            print(f"{size:6} step of {type(optimizer).__name__}: {step_s:.3f} s", flush=True)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
