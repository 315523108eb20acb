"""COCO keypoints: x, y and a third number for each point, the third of no concern here.

Either a list of results whose ``image_id`` are file names, or a document with ``images`` (``id`` and ``file_name``) and
``annotations``.
"""

from __future__ import annotations

from typing import Any

from rcn_search.leaderboard.formats.base import ExternalPredictions, collect_faces


def parse(document: Any) -> ExternalPredictions:
    """The faces of a document.

    Raises:
        ValueError: It is not COCO's, or its images have no names.
    """
    names: dict[Any, Any] = {}
    faces = document
    if isinstance(document, dict):
        images, faces = document.get("images"), document.get("annotations")
        if not isinstance(images, list) or not all(isinstance(each, dict) for each in images):
            raise ValueError("no list of images with id and file_name")
        names = {str(each.get("id")): each.get("file_name") for each in images}
    if not isinstance(faces, list) or not all(isinstance(face, dict) and "keypoints" in face for face in faces):
        raise ValueError("neither COCO keypoints nor SPIGA's list of faces with imgpath and landmarks")
    named = []
    for number, face in enumerate(faces, start=1):
        points = face["keypoints"]
        if not isinstance(points, list) or len(points) % 3:
            raise ValueError(f"annotation {number} has no keypoints in threes of x, y and visibility")
        image = face.get("image_id")
        if isinstance(document, list) and not isinstance(image, str):
            raise ValueError(
                f"annotation {number} names its image {image!r}; give a document with images and annotations, "
                "so that numbers have file names"
            )
        named.append((names.get(str(image), image) if names else image, [v for i, v in enumerate(points) if i % 3 < 2]))
    return collect_faces(named)
