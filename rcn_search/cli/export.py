"""``rcn-search export``: a network as a file of ONNX or OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from rcn_search.cli.console import command, console, print_text
from rcn_search.cli.options import AllowTarget, DecoderOption, Tta
from rcn_search.cluster.ray_job import check_outlives_job

if TYPE_CHECKING:
    from rcn_search.inference.export.latency_table import Latency


@command
def export_command(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Packaged weights, folder of a run, or checkpoint.")
    ],
    to: Annotated[Literal["onnx", "openvino"], typer.Option("--to", help="Format.")],
    out: Annotated[
        str, typer.Option(metavar="FILE", help="File to write, .onnx or .xml; the latter with a .bin beside it.")
    ],
    data: Annotated[
        str, typer.Option(metavar="URI", help="Data set on which to compare with PyTorch. Default: drawn faces.")
    ] = "",
    license: Annotated[
        str, typer.Option(help="License of the weights, written into the file. Default: what the data set says.")
    ] = "",
    max_difference: Annotated[
        float, typer.Option(min=0, help="Largest accepted distance of a point from that of PyTorch, in crop pixels.")
    ] = 0.01,
    decoder: DecoderOption = None,
    tta: Annotated[list[Tta] | None, typer.Option("--tta", help="Average over the face and its flip: flip.")] = None,
    allow_target: AllowTarget = None,
) -> None:
    """Export contrast normalization, network and decoding as one graph, and compare it with PyTorch.

    Example: rcn-search export runs/rcn6 --to onnx --out rcn6.onnx
    """
    from rcn_search.data.dataset import open_dataset
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.export.export import export_network
    from rcn_search.inference.export.latency_table import measure_latencies
    from rcn_search.inference.predictor import load
    from rcn_search.inference.weights import find_weights

    check_outlives_job(out, "--out")
    weights = find_weights(checkpoint)
    inference = InferenceConfig.from_record({}, decoder=decoder, tta=tta or (), device="cpu")
    predictor = load(weights, inference)
    export = export_network(
        predictor,
        weights,
        out,
        target=to,
        dataset=open_dataset(data) if data else None,
        license=license,
        max_difference_px=max_difference,
    )
    compared = export.comparison
    print_text(
        f"{compared.faces}: points differ from PyTorch by {compared.max_difference_px:.2g} px at most (limit "
        f"{max_difference:g}), confidences by {compared.max_confidence_difference:.2g}, {compared.num_cells} cells"
    )
    console.print(_latency_table(measure_latencies(predictor, export.content)))
    size = len(export.content.graph) + len(export.content.weights or b"")
    print_text(f"→ {' and '.join(export.uris)}, {size / 1e6:.2f} MB")


def _latency_table(measured: list[Latency]) -> Table:
    """Print a line for each runtime and number of threads, with the time of each batch."""
    batch_sizes = list(dict.fromkeys(row.batch_size for row in measured))
    names = ["1 face" if size == 1 else f"{size} faces" for size in batch_sizes]
    table = Table("crops to points", "threads", *names, box=None, pad_edge=False)
    times_ms = {row[:3]: row.time_ms for row in measured}
    for runtime, threads in dict.fromkeys(row[:2] for row in measured):
        cells = [f"{times_ms[runtime, threads, size]:.2f} ms" for size in batch_sizes]
        table.add_row(runtime, str(threads), *cells)
    return table
