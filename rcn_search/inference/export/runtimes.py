"""Run an exported graph by ONNX Runtime or OpenVINO, in fp32 on the CPU. Several threads may share a session."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.inference.export.exported_info import METADATA_KEY, ExportedInfo, parse_exported_info
from rcn_search.machine import num_cpus

INSTALL = "pip install 'rcn-search[export]'"


class ExportedFile(NamedTuple):
    """Content of an exported network: ONNX, or XML and weights of OpenVINO."""

    graph: bytes
    weights: bytes | None  # None: ONNX
    uri: str  # for messages


class Outputs(NamedTuple):
    """Outputs of the graph, as `rcn_search.inference.export.onnx_graph` describes them."""

    points_bk2: NDArray[np.float32]
    confidence_bk: NDArray[np.float32]
    cells_bk2: NDArray[np.int64]


class Session(Protocol):
    """A loaded graph."""

    name: str
    info: ExportedInfo

    def run(self, crop_b: NDArray[np.uint8], face_box_b4: NDArray[np.float32]) -> Outputs:
        """Predict a batch."""
        ...


def read_exported(uri: str) -> ExportedFile:
    """Read an exported file; the weights of an OpenVINO file lie beside its ``.xml`` as ``.bin``.

    Raises:
        RcnSearchError: A file is missing.
    """
    try:
        graph = storage.read_bytes(uri)
        weights = storage.read_bytes(weights_uri(uri)) if uri.endswith(".xml") else None
    except FileNotFoundError as error:
        raise RcnSearchError(f"no exported network at {uri}: {error}") from None
    return ExportedFile(graph, weights, uri)


def weights_uri(xml_uri: str) -> str:
    """Return the URI of the weights of an OpenVINO file."""
    return xml_uri.removesuffix(".xml") + ".bin"


def open_session(file: ExportedFile, num_threads: int | None = None) -> Session:
    """Load an exported network with a number of threads, by default one for each core.

    Raises:
        RcnSearchError: The runtime is not installed, or the file is damaged or not exported by rcn-search.
    """
    threads = num_threads or num_cpus()
    return OnnxSession(file, threads) if file.weights is None else OpenVinoSession(file, threads)


class OnnxSession:
    """ONNX Runtime."""

    name = "ONNX Runtime"

    def __init__(self, file: ExportedFile, num_threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise RcnSearchError(f"{file.uri} needs onnxruntime: {INSTALL}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = num_threads, 3
        try:
            self._session = onnxruntime.InferenceSession(file.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common base of their own
            raise RcnSearchError(f"{file.uri} is not a readable ONNX file: {_first_line(error)}") from error
        self.info = parse_exported_info(self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY), file.uri)

    def run(self, crop_b: NDArray[np.uint8], face_box_b4: NDArray[np.float32]) -> Outputs:
        """Predict a batch."""
        return Outputs(*self._session.run(None, {"crops": crop_b, "face_boxes": face_box_b4}))


class OpenVinoSession:
    """OpenVINO. Its default precision on newer processors is bf16, which moves points by pixels."""

    name = "OpenVINO"

    def __init__(self, file: ExportedFile, num_threads: int) -> None:
        try:
            import openvino
        except ImportError:
            raise RcnSearchError(f"{file.uri} needs openvino: {INSTALL}") from None
        core = openvino.Core()
        try:
            model = core.read_model(model=file.graph, weights=file.weights)
            has_info = model.has_rt_info([METADATA_KEY])
            text = str(model.get_rt_info([METADATA_KEY]).astype(str)) if has_info else None
            self.info = parse_exported_info(text, file.uri)
            options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": num_threads}
            self._compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise RcnSearchError(f"{file.uri} is not a readable OpenVINO file: {_first_line(error)}") from error
        self._local = threading.local()

    def run(self, crop_b: NDArray[np.uint8], face_box_b4: NDArray[np.float32]) -> Outputs:
        """Predict a batch."""
        request: Any = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        result = request.infer([crop_b, face_box_b4])
        return Outputs(*(np.array(result[index]) for index in range(3)))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
