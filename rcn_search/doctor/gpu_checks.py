"""GPUs: whether torch can use those that are there."""

from __future__ import annotations

from pathlib import Path

from rcn_search.doctor.check_result import Finding, ok, problem, warning

DRIVER = Path("/proc/driver/nvidia/version")
GIB = 2**30


def examine_gpus() -> Finding:
    """All that is to be said of the GPUs of this machine."""
    import torch

    build = torch.version.cuda
    if not torch.cuda.is_available():
        return judge_no_gpu(build, DRIVER.is_file())
    names: list[str] = []
    for index in range(torch.cuda.device_count()):
        try:
            torch.ones(8, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            return problem("GPUs", f"GPU {index}: {error}", "restart its driver, or hide it with CUDA_VISIBLE_DEVICES")
        free, total = torch.cuda.mem_get_info(index)
        names.append(f"{torch.cuda.get_device_name(index)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free")
    return ok("GPUs", f"{'; '.join(names)}; CUDA {build}")


def judge_no_gpu(build: str | None, has_driver: bool) -> Finding:
    """What it means that torch finds no GPU.

    Args:
        build: CUDA version that torch was built for, if it was.
        has_driver: Whether NVIDIA's driver is loaded.
    """
    if has_driver and build is None:
        return problem("GPUs", "there is a driver, and torch was built for CPUs", "install a CUDA build of torch")
    if has_driver:
        return problem(
            "GPUs",
            f"there is a driver, and torch, built for CUDA {build}, finds no GPU",
            "look at nvidia-smi: the driver is too old for it, CUDA_VISIBLE_DEVICES hides all, or the container was "
            "started without --gpus all",
        )
    if build is not None:
        return warning(
            "GPUs", f"none: torch was built for CUDA {build}, and no driver is loaded", "none needed to train on CPUs"
        )
    return ok("GPUs", "none; trials train on CPUs")
