"""``rcn-search demo``: try a model on photographs and before the camera, in this machine's browser."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from rcn_search.cli.console import command, console, print_text, warn
from rcn_search.cli.options import AllowTarget, DecoderOption, Device, Model, TtaOption
from rcn_search.resources import DEFAULT_MODEL


@command
def demo_command(
    model: Model = DEFAULT_MODEL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: any free port.")] = 8009,
    detector: Annotated[str, typer.Option(help="Face detector: dlib, skimage, or one of another package.")] = "auto",
    min_face: Annotated[int, typer.Option(min=10, help="Smallest face to look for, in pixels.")] = 40,
    decoder: DecoderOption = None,
    tta: TtaOption = None,
    device: Device = "auto",
    allow_target: AllowTarget = None,
) -> None:
    """Serve a page on which points and circles appear on photographs. Nothing leaves this machine. Ctrl-C ends it.

    Example: rcn-search demo

    Example: rcn-search demo --model runs/rcn6
    """
    from rcn_search.errors import RcnSearchError
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.demo.server import Demo, make_handler
    from rcn_search.inference.detectors import NO_DETECTOR, make_detector
    from rcn_search.inference.predictor import load
    from rcn_search.local_server import serve_locally

    if detector == NO_DETECTOR:
        raise RcnSearchError("the page finds faces by a detector: --detector none is for crops (rcn-search predict)")
    predictor = load(model, InferenceConfig.from_record({}, decoder=decoder, tta=tta or (), device=device))
    demo = Demo(predictor, model, make_detector(detector), min_face)
    if predictor.radius_table is None:
        warn(f"{model} is not calibrated for these options, so points have no radius: rcn-search evaluate --calibrate")
    try:
        with serve_locally(make_handler(demo), port) as address:
            print_text(f"{model} at {address} until Ctrl-C")
            threading.Event().wait()
    except KeyboardInterrupt:  # at any time from when the page can be read
        console.print("ended")
