"""Serve the page and predict what it sends: to this machine's browser only, and without keeping a photograph.

GET  /          the page; /page.css, /demo.css, /demo.js, /icon.svg
GET  /model     JSON: name and points of the model, the lines between them, and whether it has radii
POST /predict   a photograph (application/octet-stream) → JSON: width, height, faces, milliseconds
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any

from rcn_search import pages
from rcn_search.data.importers.photo import decode_photo
from rcn_search.errors import RcnSearchError
from rcn_search.inference.detectors.detector import Detector
from rcn_search.inference.faces import Faces
from rcn_search.inference.images import turn_upright
from rcn_search.inference.predictor import Predictor
from rcn_search.local_server import MAX_CONNECTION_S, SECURITY_HEADERS, is_own_host, is_own_page

MAX_PHOTO_BYTES = 32 * 2**20
"""Largest photograph that is taken."""
PHOTO_TYPE = "application/octet-stream"
"""Type of a photograph that the page sends; a form of another page cannot send it."""
ASSETS = Path(__file__).parent / "assets"
_FILES = {
    "/page.css": (pages.ASSETS / "page.css", "text/css; charset=utf-8"),
    "/demo.css": (ASSETS / "demo.css", "text/css; charset=utf-8"),
    "/demo.js": (ASSETS / "demo.js", "text/javascript; charset=utf-8"),
    "/icon.svg": (ASSETS / "icon.svg", "image/svg+xml"),
}


class Demo:
    """Predicts one photograph at a time, whatever the number of requests."""

    def __init__(self, predictor: Predictor, name: str, detector: Detector, min_face_px: int) -> None:
        self.predictor, self.name, self.detector, self.min_face_px = predictor, name, detector, min_face_px
        self._lock = threading.Lock()

    def describe(self) -> dict[str, Any]:
        """Return what the page says of the model."""
        schema, table = self.predictor.schema, self.predictor.radius_table
        return {"name": self.name, "points": schema.names, "edges": schema.edges, "coverage": table and table.coverage}

    def predict(self, photo: bytes) -> dict[str, Any]:
        """Predict the faces of a photograph, in pixels of it as a viewer shows it.

        Raises:
            RcnSearchError: It is no photograph that can be read.
        """
        image = turn_upright(decode_photo(BytesIO(photo)))
        with self._lock:
            started = time.perf_counter()
            faces = self.predictor.predict(image, detector=self.detector, min_face_px=self.min_face_px)
            time_ms = 1e3 * (time.perf_counter() - started)
        return {"width": image.width, "height": image.height, "faces": _face_list(faces), "time_ms": round(time_ms)}


def _face_list(faces: Faces) -> list[dict[str, Any]]:
    has_radius = not bool((faces.radius != faces.radius).any())  # NaN is not equal to itself
    return [
        {
            "box": faces.boxes[row].round(2).tolist(),
            "points": faces.points[row].round(2).tolist(),
            "confidence": faces.confidence[row].round(3).tolist(),
            "radius": faces.radius[row].round(2).tolist() if has_radius else None,
        }
        for row in range(len(faces.points))
    ]


def make_handler(demo: Demo) -> Callable[..., BaseHTTPRequestHandler]:
    """Make the handler that a server calls for each connection."""
    return partial(_Handler, demo)


class _Handler(BaseHTTPRequestHandler):
    server_version = "rcn-search"
    sys_version = ""
    timeout = MAX_CONNECTION_S

    def __init__(self, demo: Demo, *arguments: Any, **options: Any) -> None:
        self.demo = demo
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """Answer with a file of the page, or what the model is."""
        if not is_own_host(self.headers):
            self.send_error(HTTPStatus.FORBIDDEN, "only for 127.0.0.1 and localhost")
        elif self.path == "/model":
            self._send(HTTPStatus.OK, self.demo.describe())
        elif self.path == "/":
            page = pages.page_environment("rcn_search.inference.demo").get_template("demo.html").render(assets="/")
            self._send_bytes(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")
        elif self.path in _FILES:
            path, content_type = _FILES[self.path]
            self._send_bytes(HTTPStatus.OK, path.read_bytes(), content_type)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815 - the body is left out by `_send_bytes`

    def do_POST(self) -> None:
        """Predict the photograph that the page sends."""
        if not (is_own_host(self.headers) and is_own_page(self.headers)):
            self.send_error(HTTPStatus.FORBIDDEN, "only for the page of this server")
            return
        if self.path != "/predict":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Content-Type") != PHOTO_TYPE or not (length.isascii() and length.isdecimal()):
            self.send_error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            return
        if len(length) > 12 or int(length) > MAX_PHOTO_BYTES:
            self._send(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                {"error": f"photographs of up to {MAX_PHOTO_BYTES // 2**20} MB are taken"},
            )
            return
        photo = self.rfile.read(int(length))
        try:
            self._send(HTTPStatus.OK, self.demo.predict(photo))
        except RcnSearchError as error:
            self._send(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _send(self, status: HTTPStatus, document: dict[str, Any]) -> None:
        self._send_bytes(status, json.dumps(document, allow_nan=False).encode(), "application/json")

    def _send_bytes(self, status: HTTPStatus, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
