from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rcn_search.data.dataset import Dataset, num_rows_used
from rcn_search.data.importers import pts, w300
from rcn_search.data.importers.base import Row, RowError
from rcn_search.data.importers.w300 import W300Importer, split_by_photo
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError, Manifest
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import IBUG68

FACE = draw_face(0, IBUG68)


def write_face(path: Path, points_k2: np.ndarray = FACE.points, *, header: bool = True, suffix: str = ".jpg") -> Path:
    """Write a photograph and the points of its face, which are one-based in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tint = np.array([1, 0.8, 0.6])
    Image.fromarray((FACE.image[..., None] * tint).astype(np.uint8)).save(path.with_name(path.name + suffix))
    lines = [f"{x + 0.5:.6f} {y + 0.5:.6f}" for x, y in points_k2]
    if header:
        lines = ["version: 1", "n_points:  68", "{", *lines, "}"]
    path.with_name(path.name + ".pts").write_bytes("\r\n".join(lines).encode() if header else "\n".join(lines).encode())
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Assume that five test faces were published: two of helen, two of lfpw, one of ibug."""
    monkeypatch.setattr(w300, "PUBLISHED_TESTS", {"helen/testset": 2, "lfpw/testset": 2, "ibug": 1})


@pytest.fixture
def folder(tmp_path: Path, small: None) -> Path:
    """All six folders; the test folders are complete."""
    root = tmp_path / "300W"
    for name in ("134212_1", "134212_2", "1004467229_1"):
        write_face(root / "afw" / name)
    for name in ("10_1", "10_2", "12_1", "13_1", "14_1"):
        write_face(root / "helen/trainset" / name, header=False)
    for name in ("image_0001", "image_0002"):
        write_face(root / "lfpw/trainset" / name, suffix=".png")
    write_face(root / "helen/testset/30_1")
    write_face(root / "helen/testset/30_2", suffix=".JPG")
    write_face(root / "lfpw/testset/image_0001", suffix=".PNG")
    write_face(root / "lfpw/testset/image_0002")
    write_face(root / "ibug/image_092 _01", square_face(4, 20, 40))  # a blank as published; padded on the left
    return root


def imported(folder: Path, uri: Path, **options: bool) -> Manifest:
    return import_dataset(W300Importer(folder, **options), str(uri)).manifest


def counts(manifest: Manifest) -> dict[str, int]:
    return {name: manifest.num_rows(name) for name in manifest.split_names}


def test_w300_published_counts_equal_the_paper() -> None:
    assert (sum(w300.PUBLISHED_TRAINING.values()), sum(w300.PUBLISHED_TESTS.values())) == (3_148, 689)
    sizes = {w300.TEST_SPLITS[folder]: count for folder, count in w300.PUBLISHED_TESTS.items()}
    assert sizes == {"helen-test": 330, "lfpw-test": 224, "ibug": 135}
    assert {union: sum(sizes[name] for name in members) for union, members in w300.UNIONS.items()} == {
        "common": 554,
        "challenging": 135,
        "full": 689,
    }


def test_w300_import_of_complete_tests_forms_unions(folder: Path, tmp_path: Path) -> None:
    manifest = imported(folder, tmp_path / "out")
    assert counts(manifest) == {
        "train": 9, "val": 1, "helen-test": 2, "lfpw-test": 2, "ibug": 1, "common": 4, "challenging": 1, "full": 5
    }  # fmt: skip
    tests = ["helen-test", "lfpw-test", "ibug", "common", "challenging", "full"]
    assert manifest.test_splits == {name: f"300w/{name}" for name in tests}
    assert manifest.dataset_and_subset("common") == ("300w", "common")
    assert manifest.notes == [
        "afw is incomplete: 3 of 337 faces",
        "helen/trainset is incomplete: 5 of 2,000 faces",
        "lfpw/trainset is incomplete: 2 of 811 faces",
    ]
    dataset = Dataset(str(tmp_path / "out"))
    full, parts = dataset.split("full"), [dataset.split(name) for name in ("helen-test", "lfpw-test", "ibug")]
    assert full.image_id_n.tolist() == [
        "helen/testset/30_1",
        "helen/testset/30_2",
        "lfpw/testset/image_0001",
        "lfpw/testset/image_0002",
        "ibug/image_092 _01",
    ]
    assert torch.equal(full.points_nk2, torch.cat([part.points_nk2 for part in parts]))
    assert torch.equal(full.photo_n4, torch.cat([part.photo_n4 for part in parts]))
    assert torch.equal(full.edge_nk, torch.cat([part.edge_nk for part in parts]))
    assert full.edge_nk[4].any()
    assert not torch.equal(full.photo_n4[4], full.photo_n4[0])
    rows = torch.tensor([4, 0, 2])
    expected = [parts[2].images_at(torch.tensor([0])), parts[0].images_at(torch.tensor([0]))]
    assert torch.equal(full.images_at(rows), torch.cat([*expected, parts[1].images_at(torch.tensor([0]))]))
    assert num_rows_used(manifest, "common", 3) == 3
    with pytest.raises(DatasetError, match="which has 4"):
        num_rows_used(manifest, "common", 5)


def test_w300_import_of_incomplete_test_is_named_part(folder: Path, tmp_path: Path) -> None:
    (folder / "lfpw/testset/image_0001.PNG").write_bytes(b"hello")
    manifest = imported(folder, tmp_path / "out")
    assert counts(manifest) == {
        "train": 9, "val": 1, "helen-test": 2, "lfpw-test-part": 1, "ibug": 1, "challenging": 1
    }  # fmt: skip
    assert manifest.test_splits["lfpw-test-part"] == "300w/lfpw-test-part"
    assert manifest.notes[-2:] == [
        "lfpw/testset is incomplete: 1 of 2 faces",
        "no subset common, full: not all its faces are here",
    ]
    assert [refusal.row for refusal in manifest.refused] == ["lfpw/testset/image_0001.pts"]
    with pytest.raises(DatasetError, match="no split 'common'; it has: train, val, helen-test, lfpw-test-part, ibug"):
        Dataset(str(tmp_path / "out")).split("common")


def test_w300_import_of_one_folder_notes_the_missing_ones(tmp_path: Path) -> None:
    write_face(tmp_path / "300W/ibug/image_003_1")
    manifest = imported(tmp_path / "300W", tmp_path / "out")
    assert counts(manifest) == {"ibug-part": 1}
    assert "afw is missing: 0 of 337 faces" in manifest.notes
    with pytest.raises(DatasetError, match=r"holds no .pts file in any of afw, helen/trainset"):
        W300Importer(tmp_path).read_rows()


def test_w300_read_rows_ignores_hidden_files(folder: Path) -> None:
    """MacOS adds them on disks of other systems."""
    before = W300Importer(folder).read_rows()
    for path in list(folder.rglob("*.pts")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        (path.parent / ".DS_Store").write_bytes(b"\0")
    assert W300Importer(folder).read_rows() == before


@pytest.mark.parametrize("suffix", [".Jpg", ".bmp", ".BMP", ".webp", ".ppm"])
def test_w300_import_finds_photographs_of_any_suffix(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = folder / "afw/134212_1"
    path.with_suffix(".jpg").unlink()
    write_face(path, suffix=suffix)
    assert imported(folder, tmp_path / "out").refused == []


def test_w300_import_of_linked_layout(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "store")
    folder.mkdir()
    for name in ("afw", "helen", "lfpw"):
        (folder / name).symlink_to(moved / name)
    (folder / "ibug").mkdir()
    for path in (moved / "ibug").iterdir():
        (folder / "ibug" / path.name).symlink_to(path)
    manifest = imported(folder, tmp_path / "out")
    assert manifest.refused == []
    assert manifest == imported(moved, tmp_path / "again")


def test_w300_importer_with_additional_faces_is_refused(folder: Path) -> None:
    write_face(folder / "ibug/image_003_1_flipped")
    with pytest.raises(DatasetError, match=r"ibug holds 2 .pts files, but 1 were published; remove the others"):
        W300Importer(folder).read_rows()


def fake_rows(names: list[str]) -> list[Row]:
    return [Row(f"{name}.pts", 0, "") for name in names]


def test_split_by_photo_does_not_depend_on_directory_order() -> None:
    names = [f"afw/{index // 2}_{index % 2 + 1}" for index in range(337)]
    names += [f"helen/trainset/{index}_1" for index in range(2_000)]
    names += [f"lfpw/trainset/image_{index:04d}" for index in range(811)]
    splits = split_by_photo(fake_rows(names))
    assert (len(splits["train"]), len(splits["val"])) == (2_834, 314)  # as the paper
    photos = [{pts.photo_id(row) for row in rows} for rows in splits.values()]
    assert not photos[0] & photos[1]
    assert len({row.file for rows in splits.values() for row in rows}) == 3_148
    shuffled = random.Random(0).sample(names, len(names))
    assert split_by_photo(fake_rows(shuffled)) == splits
    assert [row.file for row in splits["val"]] != sorted(row.file for row in splits["val"])


@pytest.mark.parametrize(("names", "sizes"), [(["a_1"], (1, 0)), (["1_1", "1_2", "2_1", "2_2"], (2, 2))])
def test_split_by_photo_of_few_faces(names: list[str], sizes: tuple[int, int]) -> None:
    splits = split_by_photo(fake_rows(names))
    assert (len(splits["train"]), len(splits["val"])) == sizes


@pytest.mark.parametrize(
    ("face", "photo"),
    [
        ("afw/134212_2", "afw/134212"),
        ("helen/trainset/100040721_1", "helen/trainset/100040721"),
        ("lfpw/trainset/image_0012", "lfpw/trainset/image_0012"),
        ("ibug/image_092 _01", "ibug/image_092"),
        ("ibug/image_021", "ibug/image_021"),
    ],
)
def test_photo_id_removes_the_face_number(face: str, photo: str) -> None:
    assert pts.photo_id(Row(f"{face}.pts", 0, "")) == photo


def test_w300_import_of_shared_photograph_file(folder: Path, tmp_path: Path) -> None:
    for name in ("134212_1", "134212_2"):
        (folder / f"afw/{name}.jpg").unlink()
    Image.fromarray(FACE.image).save(folder / "afw/134212.png")
    assert imported(folder, tmp_path / "out").refused == []


def test_w300_import_converts_one_based_points(folder: Path, tmp_path: Path) -> None:
    imported(folder, tmp_path / "out")
    split = Dataset(str(tmp_path / "out")).split("train")
    for row in (0, 8):
        back = split.points_nk2[row].numpy() * (split.box_n4[row, 2] / 160) + split.box_n4[row, :2]
        np.testing.assert_allclose(back, FACE.points, atol=1e-4)


def square_face(left: float, top: float, side: float) -> np.ndarray:
    """68 points on the diagonal of a square: x and y from its corner to the opposite one."""
    share = np.linspace(0, 1, 68)
    return np.stack([left + side * share, top + side * share], axis=1)


def test_w300_import_padding_edges_and_boxes_by_hand(tmp_path: Path) -> None:
    """A face of 40 pixels near the top left of a photograph of 160.

    x 4..44, y 20..60: square 40, less and plus 14, so 4 - 14 = -10 and 44 + 14 = 58: side 68, 10 pixels of padding on
    the left, none above (20 - 14 = 6). In the crop, 160 / 68 pixels each, the points span 32.94..127.06, hence
    32..128, and with 0.15 x 96 = 14.4 more the face box 17..143. Padding there is 10 x 160 / 68 = 23.5: the face box
    sees it, so a published x < 10 (here < 9.5) is at the left edge.
    """
    write_face(tmp_path / "300W/ibug/image_003_1", square_face(4, 20, 40), suffix=".png")
    imported(tmp_path / "300W", tmp_path / "out")
    split = Dataset(str(tmp_path / "out")).split("ibug-part")
    assert split.box_n4[0].tolist() == [-10, 6, 68, 68]
    assert split.face_box_n4[0].tolist() == [17, 17, 126, 126]
    np.testing.assert_allclose(split.photo_n4[0], [1600 / 68, 0, 160 - 1600 / 68, 160], rtol=1e-6)
    at_edge = square_face(4, 20, 40)[:, 0] < 9.5
    assert split.edge_nk[0].tolist() == at_edge.astype(int).tolist()
    assert 1 < at_edge.sum() < 68
    image = split.images_at(torch.tensor([0]))[0]
    assert image[:, :16].max() == 0  # Lanczos reaches three pixels of the photograph, seven of the crop
    assert image[:, 24:].float().mean() > 20


def test_w300_import_without_padding_has_no_edge_codes(tmp_path: Path) -> None:
    write_face(tmp_path / "300W/ibug/image_003_1", square_face(60, 60, 30))
    imported(tmp_path / "300W", tmp_path / "out")
    split = Dataset(str(tmp_path / "out")).split("ibug-part")
    assert split.photo_n4[0].tolist() == [0, 0, 160, 160]
    assert split.edge_nk.shape == (1, 68)
    assert not split.edge_nk.any()


def text_of(count: int, *, header: str = "") -> str:
    return header + "\n".join(["1.5 2.5"] * count)


@pytest.mark.parametrize(
    "text",
    [
        text_of(68),
        text_of(68, header="version: 1\nn_points: 68\n{\n") + "\n}\n",
        text_of(68, header="version: 1\r\nn_points:  68\r\n{\r\n").replace("\n", "\r\n") + " \r\n}",
        text_of(68, header="n_points: 68\n{ ") + " }",
    ],
)
def test_parse_points_with_and_without_header(text: str) -> None:
    np.testing.assert_array_equal(pts.parse_points(text), np.tile([1.5, 2.5], (68, 1)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (text_of(67), "67 points instead of 68"),
        (text_of(49, header="version: 1\nn_points: 49\n{\n") + "}", "n_points is '49' instead of 68"),
        (text_of(67) + "\n1 nan", "not finite"),
        (text_of(67) + "\n1 2 3", "'1 2 3' is not a point"),
        (text_of(67) + "\nx y", "'x y' is not a point"),
        ("", "0 points instead of 68"),
    ],
)
def test_parse_points_of_malformed_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        pts.parse_points(text)


def replace_pts(path: Path, make: Callable[[Path], object]) -> None:
    path.with_suffix(".pts").unlink()
    make(path.with_suffix(".pts"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.with_suffix(".jpg").unlink(), "image is missing"),
        (lambda path: path.with_suffix(".jpg").write_bytes(b"x"), "image cannot be read"),
        (lambda path: path.with_suffix(".pts").write_bytes(b"\xff\x00"), "is not a point"),
        (lambda path: replace_pts(path, Path.mkdir), "annotation cannot be read: not a file"),
        (lambda path: replace_pts(path, os.mkfifo), "annotation cannot be read: not a file"),
        (lambda path: replace_pts(path, lambda pts: pts.symlink_to("gone")), "cannot be read: No such file"),
        (lambda path: path.with_suffix(".pts").write_bytes(b" " * 70_000), "annotation cannot be read: over 65,536"),
        (lambda path: path.with_suffix(".pts").write_text(text_of(67) + "\n1_0 2"), "'1_0 2' is not a point"),
        (lambda path: write_face(path, np.full((68, 2), 79.5)), "the points span only 0x0 pixels"),
        (lambda path: write_face(path, square_face(79.7, 79.7, 0.9)), "the points span only 0.9x0.9 pixels"),
        (lambda path: write_face(path, FACE.points + 200), r"lies outside its 160x160 image"),
        (lambda path: write_face(path, square_face(-700, -700, 1600)), "lie far outside"),
        (lambda path: write_face(path, square_face(-1e9, -1e9, 2e9 + 160)), "span a box of 3,400,"),
    ],
)
def test_w300_import_refuses_bad_faces(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(folder / "afw/134212_1")
    (refusal,) = imported(folder, tmp_path / "out").refused
    assert refusal.row == "afw/134212_1.pts"
    assert re.search(reason, refusal.reason), refusal.reason


def test_w300_import_in_color_is_another_data_set(folder: Path, tmp_path: Path) -> None:
    gray, color = imported(folder, tmp_path / "gray"), imported(folder, tmp_path / "color", color=True)
    assert (gray.channels, color.channels) == (1, 3)
    with pytest.raises(DatasetError, match="already holds"):
        imported(folder, tmp_path / "gray", color=True)
    gray_split, split = (Dataset(str(tmp_path / name)).split("full") for name in ("gray", "color"))
    images = split.images_at(torch.arange(5))
    assert images.shape == (5, 160, 160, 3)
    red, green, blue = images[0].float().mean((0, 1))
    assert red > green > blue > 0
    as_gray = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images.numpy()])
    assert np.array_equal(as_gray, gray_split.images_at(torch.arange(5)).numpy())
    assert torch.equal(split.edge_nk, gray_split.edge_nk)
