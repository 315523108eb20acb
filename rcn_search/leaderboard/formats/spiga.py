"""JSON of SPIGA's benchmark: a list of faces with ``imgpath`` and ``landmarks``, pairs of x and y."""

from __future__ import annotations

from typing import Any

from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.formats.base import ExternalPredictions, collect_faces


def parse(document: Any) -> ExternalPredictions:
    """Parse the faces of a document.

    Raises:
        RcnSearchError: It is not a list of such faces.
    """
    if not isinstance(document, list):
        raise RcnSearchError("not a list of faces with imgpath and landmarks")
    for number, face in enumerate(document, start=1):
        if not isinstance(face, dict) or not {"imgpath", "landmarks"} <= face.keys():
            raise RcnSearchError(f"face {number} has no imgpath or no landmarks")
    return collect_faces((face["imgpath"], face["landmarks"]) for face in document)
