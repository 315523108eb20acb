"""Check of the GPUs: whether torch can use them."""

from __future__ import annotations

from pathlib import Path

from rcn_search.doctor.check_result import CheckResult, ok, problem, warning

DRIVER = Path("/proc/driver/nvidia/version")
"""Exists on Linux if NVIDIA's driver is loaded."""
GIB = 2**30


def check_gpus() -> CheckResult:
    """Check that torch can run a kernel on each GPU."""
    import torch

    build = torch.version.cuda
    if not torch.cuda.is_available():
        return check_missing_gpu(build, DRIVER.is_file())
    names: list[str] = []
    for index in range(torch.cuda.device_count()):
        try:
            torch.ones(8, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            return problem("GPUs", f"GPU {index}: {error}", "restart its driver, or hide it with CUDA_VISIBLE_DEVICES")
        free, total = torch.cuda.mem_get_info(index)
        names.append(f"{torch.cuda.get_device_name(index)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free")
    return ok("GPUs", f"{'; '.join(names)}; CUDA {build}")


def check_missing_gpu(build: str | None, has_driver: bool) -> CheckResult:
    """Judge why torch, built for this version of CUDA or (None) for CPUs, finds no GPU."""
    if not has_driver and build is None:
        return ok("GPUs", "none; trials train on CPUs")
    if not has_driver:
        message = f"none: torch was built for CUDA {build}, but no driver is loaded"
        return warning("GPUs", message, "install NVIDIA's driver, or ignore this to train on CPUs")
    if build is None:
        message = "NVIDIA's driver is loaded, but torch was built for CPUs"
        return problem("GPUs", message, "install a CUDA build of torch")
    return problem(
        "GPUs",
        f"NVIDIA's driver is loaded, but torch, built for CUDA {build}, finds no GPU",
        "look at nvidia-smi: the driver may be too old for this CUDA version, CUDA_VISIBLE_DEVICES may hide all GPUs, "
        "or the container was started without --gpus all",
    )
