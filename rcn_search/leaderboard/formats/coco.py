"""COCO keypoints: x, y and visibility of each point; the visibility is ignored.

The document is either a list of results whose ``image_id`` are file names, or an object with ``images`` (``id`` and
``file_name``) and ``annotations``.
"""

from __future__ import annotations

from typing import Any

from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.formats.base import ExternalPredictions, collect_faces


def parse(document: Any) -> ExternalPredictions:
    """Parse the faces of a COCO document.

    Raises:
        RcnSearchError: It is not COCO keypoints, or its images have no names.
    """
    names: dict[Any, Any] = {}
    faces = document
    if isinstance(document, dict):
        images, faces = document.get("images"), document.get("annotations")
        if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
            raise RcnSearchError("no list of images with id and file_name")
        names = {str(image.get("id")): image.get("file_name") for image in images}
    if not isinstance(faces, list) or not all(isinstance(face, dict) and "keypoints" in face for face in faces):
        raise RcnSearchError("neither COCO keypoints nor SPIGA's list of faces with imgpath and landmarks")
    named = []
    for number, face in enumerate(faces, start=1):
        points = face["keypoints"]
        if not isinstance(points, list) or len(points) % 3:
            raise RcnSearchError(f"annotation {number} has no keypoints in threes of x, y and visibility")
        image = face.get("image_id")
        if isinstance(document, list) and not isinstance(image, str):
            raise RcnSearchError(
                f"annotation {number} names its image {image!r}; give a document with images and annotations, so that "
                "numbers have file names"
            )
        coordinates = [value for i, value in enumerate(points) if i % 3 < 2]
        named.append((names.get(str(image), image) if names else image, coordinates))
    return collect_faces(named)
