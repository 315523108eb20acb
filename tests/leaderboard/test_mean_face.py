from __future__ import annotations

import numpy as np

from rcn_search.keypoints import FIVE, IBUG68
from rcn_search.leaderboard.mean_face import mean_face


def test_mean_face_is_symmetric() -> None:
    for schema in (FIVE, IBUG68):
        place_k2 = mean_face(schema.name)
        assert place_k2 is not None
        mirrored_k2 = place_k2[list(schema.flip)]
        np.testing.assert_allclose(place_k2[:, 0], 1 - mirrored_k2[:, 0], atol=1e-9)
        np.testing.assert_allclose(place_k2[:, 1], mirrored_k2[:, 1], atol=1e-9)


def test_mean_face_has_features_in_order() -> None:
    face_k2, five_k2 = mean_face(IBUG68.name), mean_face(FIVE.name)
    assert face_k2 is not None
    assert five_k2 is not None
    np.testing.assert_allclose(face_k2.min(axis=0), 0, atol=1e-12)
    assert np.ptp(face_k2[:, 0]) == 1
    assert (face_k2[36:48, 1] < face_k2[48:60, 1].min()).all()  # eyes above the mouth
    np.testing.assert_allclose(five_k2[0], face_k2[36:42].mean(axis=0), atol=0.03)


def test_mean_face_other_schema_is_none() -> None:
    assert mean_face("wflw98") is None
