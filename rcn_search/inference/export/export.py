"""Export a network: write the graph, compare it with PyTorch, and only then publish the file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from rcn_search import storage
from rcn_search.data.dataset import Dataset
from rcn_search.errors import RcnSearchError
from rcn_search.inference.export.compare import MAX_DIFFERENCE_PX, Comparison, compare, comparison_faces
from rcn_search.inference.export.exported_info import ExportedInfo
from rcn_search.inference.export.exported_predictor import ExportedPredictor
from rcn_search.inference.export.onnx_graph import onnx_bytes, trace_onnx
from rcn_search.inference.export.openvino_graph import openvino_bytes
from rcn_search.inference.export.runtimes import ExportedFile, open_session, weights_uri
from rcn_search.inference.predictor import Predictor

Target = Literal["onnx", "openvino"]
SUFFIXES: dict[Target, str] = {"onnx": ".onnx", "openvino": ".xml"}
NOT_STATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class Export:
    """A file that was written.

    Attributes:
        uris: The file, and for OpenVINO the file of its weights.
        content: What was written.
    """

    uris: list[str]
    content: ExportedFile
    comparison: Comparison


def export_network(
    predictor: Predictor,
    checkpoint_uri: str,
    out: str,
    *,
    target: Target,
    dataset: Dataset | None = None,
    license: str = "",
    max_difference_px: float = MAX_DIFFERENCE_PX,
) -> Export:
    """Write contrast normalization, network and decoding as one graph, if it gives the points of PyTorch.

    Args:
        predictor: Network on the CPU, with the decoder and flip averaging that are to be in the graph.
        checkpoint_uri: Where it was loaded from, of which the hash is recorded.
        out: File to write; its suffix must be that of the target.
        target: Format.
        dataset: Data set on whose validation faces both are compared, and whose license is recorded if the network was
            trained on it; None: drawn faces.
        license: License of the weights.
        max_difference_px: Largest accepted distance of a point from that of PyTorch, in crop pixels.

    Raises:
        RcnSearchError: The network cannot be exported, or gives other points; then nothing is written.
    """
    if not out.endswith(SUFFIXES[target]):
        raise RcnSearchError(f"{out} must end in {SUFFIXES[target]}, by which the file is recognized")
    if isinstance(predictor, ExportedPredictor):
        raise RcnSearchError(f"{checkpoint_uri} is exported already: name a checkpoint")
    if predictor.inference.multiview:
        raise RcnSearchError("the nine windows of --tta multiview cannot be in an exported graph; --tta flip can")
    if "denoiser" in predictor.record:
        raise RcnSearchError("the denoiser of a joint model cannot be in an exported graph: export the network alone")
    description, faces = comparison_faces(predictor, dataset)
    info = _describe(predictor, checkpoint_uri, license or _data_license(predictor, dataset))
    checkpoint = info.checkpoint
    proto = trace_onnx(predictor.crop_network, crop_px=checkpoint.crop_px, color=checkpoint.config.input.color)
    comparison = compare(predictor, open_session(_content(proto, info, target, out)), faces, description)
    if comparison.max_difference_px > max_difference_px:
        raise RcnSearchError(
            f"the exported network moves a point by {comparison.max_difference_px:.4f} px on {description}; the limit "
            f"is {max_difference_px:g} px, so {out} was not written"
        )
    checked = {"max_difference_px": comparison.max_difference_px, "num_compared": comparison.num_faces}
    content = _content(proto, info.model_copy(update=checked), target, out)
    uris = [out]
    if content.weights is not None:  # first, so that whoever sees the graph finds its weights
        uris.append(weights_uri(out))
        storage.write_bytes(uris[1], content.weights)
    storage.write_bytes(out, content.graph)
    return Export(uris=uris, content=content, comparison=comparison)


def _describe(predictor: Predictor, checkpoint_uri: str, license: str) -> ExportedInfo:
    tables = () if predictor.radius_table is None else (predictor.radius_table,)
    return ExportedInfo(
        checkpoint=predictor.info.model_copy(update={"state": {}, "radius_tables": tables}),
        checkpoint_sha256=hashlib.sha256(storage.read_bytes(checkpoint_uri)).hexdigest(),
        inference=predictor.record | {"decoder": predictor.crop_network.decoder},
        license=license,
        num_params=predictor.num_params,
        multiply_adds=predictor.multiply_adds,
    )


def _content(proto: Any, info: ExportedInfo, target: Target, uri: str) -> ExportedFile:
    onnx = onnx_bytes(proto, info)
    return ExportedFile(onnx, None, uri) if target == "onnx" else ExportedFile(*openvino_bytes(onnx, info), uri)


def _data_license(predictor: Predictor, dataset: Dataset | None) -> str:
    """License of the data that a network was trained on, if that is the data set."""
    if dataset is None or dataset.manifest.fingerprint != predictor.info.data_fingerprint:
        return NOT_STATED
    return f"trained on data of this license: {dataset.manifest.license}"
