from __future__ import annotations

import numpy as np

from rcn_search.data.sample import ATTRIBUTE_CLASSES
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import FIVE
from rcn_search.leaderboard.class_names import class_name


def test_class_name_unknown_code_returns_the_part() -> None:
    for attribute, count in ATTRIBUTE_CLASSES.items():
        names = {class_name("aflw", f"{attribute} {number}") for number in range(count)}
        assert len(names) == count
        assert all(name.startswith(f"{attribute}: ") for name in names)
        assert class_name("aflw", f"{attribute} {count}") == f"{attribute} {count}"
    assert class_name("aflw", "pose 0") == "pose: left profile"
    assert class_name("wflw", "pose 0") == "pose 0"
    assert [class_name("aflw", part) for part in ("", "pose", "pose x", "light 1")] == ["", "pose", "pose x", "light 1"]


def test_class_name_left_pose_has_the_nose_left() -> None:
    noses: dict[str, list[float]] = {}
    for seed in range(60):
        face = draw_face(seed, FIVE)
        right_eye, left_eye, nose = face.points[:3]
        middle, distance = (right_eye + left_eye) / 2, np.linalg.norm(left_eye - right_eye)
        name = class_name("synthetic", f"pose {face.attributes['pose']}")
        noses.setdefault(name, []).append(float((nose - middle)[0] / distance))
    medians = {name: float(np.median(offsets)) for name, offsets in noses.items()}
    assert medians["pose: left"] < -0.1 < medians["pose: frontal"] < 0.1 < medians["pose: right"]
