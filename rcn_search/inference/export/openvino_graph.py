"""Convert the ONNX graph of a network to OpenVINO's pair of files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rcn_search.errors import RcnSearchError
from rcn_search.inference.export.exported_info import METADATA_KEY, ExportedInfo
from rcn_search.inference.export.runtimes import INSTALL


def openvino_bytes(onnx: bytes, info: ExportedInfo) -> tuple[bytes, bytes]:
    """Convert a graph; return the XML and the weights, in fp32.

    Raises:
        RcnSearchError: OpenVINO is not installed, or cannot convert the graph.
    """
    try:
        import openvino
    except ImportError:
        raise RcnSearchError(f"export to OpenVINO needs openvino: {INSTALL}") from None
    try:
        model = openvino.Core().read_model(model=onnx)
        model.set_rt_info(info.model_dump_json(), [METADATA_KEY])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            openvino.save_model(model, path, compress_to_fp16=False)
            return path.read_bytes(), path.with_suffix(".bin").read_bytes()
    except RuntimeError as error:
        raise RcnSearchError(f"OpenVINO cannot convert this network: {str(error).splitlines()[0]}") from error
