from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from rcn_search.data.synthetic import SyntheticFace, accessories, draw_face
from rcn_search.data.synthetic.head import Head
from rcn_search.data.synthetic.projection import five_of, frame, landmarks_xyz
from rcn_search.data.synthetic.render import CANVAS_PX, SUPERSAMPLE, random_light, render_head
from rcn_search.data.synthetic.traits import Traits, random_traits
from rcn_search.keypoints import FIVE, IBUG68, KeypointSchema

NUM_FACES = 120


@pytest.fixture(scope="module")
def faces() -> list[SyntheticFace]:
    return [draw_face(seed, IBUG68) for seed in range(NUM_FACES)]


def someone(seed: int = 0, **changes: object) -> Traits:
    """A person who looks ahead and has no hair (which is not symmetric), apart from ``changes``."""
    plain = {
        "hair_style": "bald",
        "glasses": "none",
        "beard": "none",
        "yaw_deg": 0.0,
        "pitch_deg": 0.0,
        "roll_deg": 0.0,
    }
    open_eyes = {"eye_open": (0.9, 0.9), "brow_raise": (0.0, 0.0)}
    return replace(random_traits(np.random.default_rng(seed)), **(plain | open_eyes | changes))


def points_of(traits: Traits) -> np.ndarray:
    """(3, 68) x, y in pixels and depth, in a fixed frame."""
    points_3k = landmarks_xyz(Head(traits))
    return np.stack(frame(traits, points_3k, np.random.default_rng(0)).project(points_3k))


@pytest.mark.parametrize("schema", [FIVE, IBUG68], ids=lambda s: s.name)
def test_draw_face_shapes_and_types(schema: KeypointSchema) -> None:
    face = draw_face(3, schema)
    assert (face.image.shape, face.image.dtype) == ((160, 160), np.uint8)
    assert (face.points.shape, face.points.dtype) == ((schema.num_points, 2), np.float32)
    assert (face.visible.shape, face.visible.dtype) == ((schema.num_points,), np.bool_)


def _digest(face: SyntheticFace) -> str:
    return hashlib.sha256(face.image.tobytes() + face.points.tobytes() + face.visible.tobytes()).hexdigest()


def test_draw_face_depends_only_on_the_seed(faces: list[SyntheticFace]) -> None:
    program = (
        "import hashlib; from rcn_search.data.synthetic import draw_face; from rcn_search.keypoints import IBUG68\n"
        "for seed in (7, 2):\n"
        "    f = draw_face(seed, IBUG68)\n"
        "    print(hashlib.sha256(f.image.tobytes() + f.points.tobytes() + f.visible.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert other == [_digest(faces[7]), _digest(faces[2])]


def test_draw_face_of_different_seeds_differs(faces: list[SyntheticFace]) -> None:
    assert len({_digest(face) for face in faces}) == NUM_FACES


def test_draw_face_five_points_are_derived_from_68(faces: list[SyntheticFace]) -> None:
    left_eye, right_eye = IBUG68.normalizers["eye_centers"]
    for seed in range(10):
        five, all_points = draw_face(seed, FIVE), faces[seed].points
        groups = [left_eye, right_eye, (30,), (48,), (54,)]
        expected = [all_points[list(group)].mean(axis=0) for group in groups]
        np.testing.assert_allclose(five.points, expected, atol=1e-4)
        np.testing.assert_array_equal(five.image, faces[seed].image)
        assert five.attributes == faces[seed].attributes


def test_draw_face_keeps_face_boxes_in_the_crop(faces: list[SyntheticFace]) -> None:
    for face in faces:
        extent = np.ptp(face.points, axis=0).max()
        middle = 0.5 * (face.points.min(axis=0) + face.points.max(axis=0))
        assert (middle - 0.65 * extent > 1).all()
        assert (middle + 0.65 * extent < 159).all()
        eyes, mouth = np.split(five_of(face.points.T).T[[0, 1, 3, 4]], 2)
        reach = max(np.linalg.norm(eyes[1] - eyes[0]), np.linalg.norm(eyes.mean(axis=0) - mouth.mean(axis=0)))
        four = np.concatenate([eyes, mouth])
        half = np.ptp(four, axis=0).max() / 2 + 0.95 * reach
        middle = 0.5 * (four.min(axis=0) + four.max(axis=0))
        assert (middle - half > 1).all()
        assert (middle + half < 159).all()


def test_draw_face_points_are_in_order(faces: list[SyntheticFace]) -> None:
    frontal = [face for face in faces if face.attributes["pose"] == 2]
    assert len(frontal) > NUM_FACES / 4
    for face in frontal:
        left_eye, right_eye, nose, left_mouth, right_mouth = five_of(face.points.T).T
        assert left_eye[0] < nose[0] < right_eye[0] or abs(left_eye[1] - right_eye[1]) > 10  # unless well tilted
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < face.points[8, 1]
        assert face.points[0, 0] < face.points[8, 0] < face.points[16, 0]
        assert face.points[17:22, 1].mean() < face.points[36:42, 1].mean()


def test_draw_face_size_is_like_real_crops(faces: list[SyntheticFace]) -> None:
    """LFW: an eye distance of 24.6 px in an input of 80 px, hence about 41 px in the crop."""
    ocular_px = [np.linalg.norm(f[0] - f[1]) for f in (five_of(face.points.T).T for face in faces)]
    assert 35 < np.median(ocular_px) < 50
    assert min(ocular_px) > 8


@pytest.mark.parametrize("yaw_deg", [0.0, 35.0, -55.0])
def test_landmarks_of_flipped_person_are_flipped(yaw_deg: float) -> None:
    person = someone(yaw_deg=yaw_deg, roll_deg=10.0, eye_open=(0.9, 0.3), brow_raise=(0.1, 0.0))
    flipped_person = replace(person, yaw_deg=-yaw_deg, roll_deg=-10.0, eye_open=(0.3, 0.9), brow_raise=(0.0, 0.1))
    points, flipped = points_of(person)[:2], points_of(flipped_person)[:2, IBUG68.flip]
    centered, flipped_centered = (p - p.mean(axis=1, keepdims=True) for p in (points, flipped))
    np.testing.assert_allclose(centered * [[-1], [1]], flipped_centered, atol=1e-6)


def test_landmarks_nose_moves_with_the_pose() -> None:
    def nose_shift(**pose: float) -> np.ndarray:
        left_eye, right_eye, nose, *_ = five_of(points_of(someone(**pose))[:2]).T
        return nose - 0.5 * (left_eye + right_eye)

    assert nose_shift(yaw_deg=40.0)[0] > 8
    assert nose_shift(yaw_deg=-40.0)[0] < -8
    assert nose_shift(pitch_deg=20.0)[1] > nose_shift()[1] > nose_shift(pitch_deg=-20.0)[1]
    assert [someone(yaw_deg=yaw).pose_code for yaw in (-55.0, -25.0, 0.0, 25.0, 55.0)] == [0, 1, 2, 3, 4]


def test_render_head_turned_hides_its_far_side() -> None:
    person = someone(yaw_deg=55.0, nose_height=0.4)
    head, points_3k = Head(person), landmarks_xyz(Head(person))
    rng = np.random.default_rng(0)
    view = frame(person, points_3k, rng)
    rendered, _ = render_head(head, view, random_light(rng), rng)
    hidden = rendered.hides(*view.project(points_3k))
    assert hidden[35]  # the nostril behind the nose
    assert not hidden[[30, 31, 36, 37, 38, 39, 48, 51]].any()


def test_render_head_irises_are_dark_at_the_eye_points() -> None:
    """On average over many people, irises are darker than the skin below them."""
    contrast = []
    for seed in range(12):
        person = someone(seed, gaze=(0.0, 0.0), skin=0.7, yaw_deg=5.0 * (seed % 5 - 2))
        head, rng = Head(person), np.random.default_rng(seed)
        points_3k = landmarks_xyz(head)
        view = frame(person, points_3k, rng)
        rendered, _ = render_head(head, view, random_light(rng), rng)
        for x, y in five_of(np.stack(view.project(points_3k)[:2])).T[:2] * SUPERSAMPLE:
            patches = [rendered.tones[int(y + d) - 2 : int(y + d) + 3, int(x) - 2 : int(x) + 3] for d in (0, 22)]
            contrast.append(patches[1].mean() - patches[0].mean())
    assert np.mean(np.array(contrast) > 0) > 0.85
    assert np.mean(contrast) > 0.1


def test_draw_face_covered_points_are_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = draw_face(5, IBUG68)

    def card(canvas: Image.Image, *_: object) -> Image.Image:
        hidden = Image.new("L", canvas.size, 0)
        for image, tone in ((canvas, 0), (hidden, 255)):
            ImageDraw.Draw(image).rectangle((0, 0, canvas.width / 2, canvas.height), fill=tone)
        return hidden

    monkeypatch.setattr(accessories, "occlude", card)
    covered = draw_face(5, IBUG68)
    np.testing.assert_array_equal(covered.points, bare.points)
    on_left = covered.points[:, 0] < 79
    assert on_left.any()
    assert not covered.visible[on_left].any()
    assert covered.visible[covered.points[:, 0] > 82].any()
    assert covered.image[:, 10:70].std() < bare.image[:, 10:70].std()


def test_occlude_changes_only_pixels_of_its_mask() -> None:
    points_px, num_hidden = points_of(someone())[:2].T, 0
    for seed in range(40):
        canvas = Image.new("L", (CANVAS_PX, CANVAS_PX), 3)
        mask = np.asarray(accessories.occlude(canvas, points_px, 50.0, 0.5, np.random.default_rng(seed)))
        np.testing.assert_array_equal(np.asarray(canvas)[mask == 0], 3)
        cells = (points_px * SUPERSAMPLE).astype(int)
        num_hidden += (mask[cells[:, 1], cells[:, 0]] > 0).any()
    assert 8 < num_hidden < 32


def test_wear_glasses_only_dark_ones_hide_the_eyes() -> None:
    for glasses, share in (("dark", 1.0), ("clear", 0.0)):
        person = someone(glasses=glasses)
        head, rng = Head(person), np.random.default_rng(1)
        points_3k = landmarks_xyz(head)
        view = frame(person, points_3k, rng)
        rendered, _ = render_head(head, view, random_light(rng), rng)
        canvas = Image.new("L", (CANVAS_PX, CANVAS_PX), 128)
        mask = np.asarray(accessories.wear_glasses(canvas, head, view, rendered, rng))
        col, row = (view.project(points_3k)[k][36:48] * SUPERSAMPLE for k in (0, 1))
        assert (mask[row.astype(int), col.astype(int)] > 0).mean() == share
        assert (np.asarray(canvas) != 128).any()


def test_draw_face_covers_all_attributes(faces: list[SyntheticFace]) -> None:
    for name, num_values in {"gender": 2, "smile": 2, "glasses": 2, "pose": 5}.items():
        assert {face.attributes[name] for face in faces} == set(range(num_values))
    visible = np.mean([face.visible for face in faces])
    assert 0.7 < visible < 0.97
    assert min(face.image.std() for face in faces) > 4


def test_draw_face_with_unknown_schema_or_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="five or ibug68, not 'wflw98'"):
        draw_face(0, replace(FIVE, name="wflw98"))
    with pytest.raises(ValueError, match="must not be negative"):
        draw_face(-1, FIVE)
