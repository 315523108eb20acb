from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcn_search.data.dataset import open_dataset
from rcn_search.data.importers import w300_private, wflw
from rcn_search.data.importers.w300_private import W300PrivateImporter
from rcn_search.data.importers.wflw import IMAGES, LISTS, SUBSETS, WflwImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import IBUG68

FACE = draw_face(0, IBUG68)
POINTS = np.concatenate([FACE.points, FACE.points[:30] + 1.25]).astype(np.float64)  # 98 of them


def line(image: str, attributes: str = "000000", points: np.ndarray = POINTS) -> str:
    numbers = " ".join(f"{value:.6f}" for value in points.reshape(-1))
    return f"{numbers} 10 12 150 155 {' '.join(attributes)} {image}"


def write(root: Path, training: list[str], testing: list[str]) -> Path:
    """A folder in the published layout, lines and pictures."""
    for part, lines in (("train", training), ("test", testing)):
        path = root / LISTS / f"list_98pt_rect_attr_{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        for name in {each.split(" ")[-1] for each in lines} - {"missing.jpg"}:
            (root / IMAGES / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(FACE.image).save(root / IMAGES / name)
    return root


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven training faces on ten photographs, and four test faces."""
    monkeypatch.setattr(wflw, "PUBLISHED_TRAINING", 11)
    published = {"test": 4, "pose": 2, "expression": 1, "illumination": 0, "makeup": 0, "occlusion": 0, "blur": 1}
    monkeypatch.setattr(wflw, "PUBLISHED_TESTS", published)
    training = [line(f"0--Parade/{number}.jpg") for number in range(10)] + [line("0--Parade/3.jpg", points=POINTS + 5)]
    testing = [line(f"1--Hands/{name}.jpg", bits) for name, bits in zip("abcd", _BITS, strict=True)]
    return write(tmp_path / "WFLW", training, testing)


_BITS = ("100001", "000000", "100000", "010000")


def test_wflw_subsets_are_unions_of_attribute_combinations(folder: Path, tmp_path: Path) -> None:
    manifest = import_dataset(WflwImporter(folder), str(tmp_path / "out")).manifest
    assert manifest.refused == []
    assert manifest.notes == []
    dataset = open_dataset(str(tmp_path / "out"))
    named = {split: dataset.split(split).image_id_n.tolist() for split in manifest.unions}
    assert {split: sorted(name[-5] for name in names) for split, names in named.items()} == {
        "test": ["a", "b", "c", "d"],
        "pose": ["a", "c"],
        "expression": ["d"],
        "blur": ["a"],
    }
    assert {*manifest.unions} <= manifest.test_splits.keys()
    assert manifest.dataset_and_subset("pose") == ("wflw", "pose")
    assert manifest.num_rows("train") + manifest.num_rows("val") == 11
    groups = [{*dataset.split(split).group_n.tolist()} for split in ("train", "val")]
    assert (len(groups[1]), groups[0] & groups[1]) == (1, set())
    ids = [name for split in ("train", "val") for name in dataset.split(split).image_id_n.tolist()]
    assert "0--Parade/3.jpg#2" in ids
    split = dataset.split("pose")
    points = split.points_nk2[0].numpy() * (split.box_n4[0, 2] / 160) + split.box_n4[0, :2]
    np.testing.assert_allclose(points, POINTS, atol=1e-4)


def test_wflw_incomplete_subsets_have_another_name(folder: Path, tmp_path: Path) -> None:
    path = folder / LISTS / "list_98pt_rect_attr_test.txt"
    lines = path.read_text().splitlines()
    bad = [line("missing.jpg", "100000"), line("1--Hands/a.jpg", "200000"), "1 2 3 1--Hands/a.jpg"]
    bad.append(line("1--Hands/a.jpg").replace(line("1--Hands/a.jpg").split(" ")[4], "nan", 1))
    path.write_text("\n".join([*lines[1:], *bad]))
    manifest = import_dataset(WflwImporter(folder), str(tmp_path / "out")).manifest
    assert {*manifest.unions} == {"test-part", "pose-part", "expression"}
    assert "test is incomplete: 3 of 4 faces" in manifest.notes
    reasons = [refusal.reason for refusal in manifest.refused]
    assert len(reasons) == 4
    for reason in ("image is missing", "neither 0 nor 1", "4 fields instead of 207", "malformed line"):
        assert any(reason in each for each in reasons), reason


def test_wflw_published_counts_are_those_of_the_paper() -> None:
    assert [wflw.PUBLISHED_TESTS[name] for name in ("test", *SUBSETS)] == [2500, 326, 314, 698, 206, 736, 773]


def test_wflw_without_lists_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the source folder must hold WFLW_annotations"):
        WflwImporter(tmp_path).read_rows()


def test_w300_private_has_two_test_splits_and_their_union(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(w300_private, "NUM_PUBLISHED", 2)
    for folder, stem in (("01_Indoor", "indoor"), ("02_Outdoor", "outdoor")):
        for number in (1, 2):
            path = tmp_path / "300W" / folder / f"{stem}_{number:03d}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(FACE.image).save(path.with_suffix(".png"))
            points = "\n".join(f"{x + 0.5} {y + 0.5}" for x, y in FACE.points.tolist())
            path.with_suffix(".pts").write_text("version: 1\nn_points: 68\n{\n" + points + "\n}\n")
    manifest = import_dataset(W300PrivateImporter(tmp_path), str(tmp_path / "out")).manifest
    assert manifest.unions == {"private": ["private-indoor", "private-outdoor"]}
    assert manifest.dataset_and_subset("private") == ("300w", "private")
    assert manifest.num_rows("private") == 4
    points = open_dataset(str(tmp_path / "out")).split("private-outdoor")
    assert points.image_id_n.tolist() == ["02_Outdoor/outdoor_001", "02_Outdoor/outdoor_002"]
    (tmp_path / "300W/01_Indoor/indoor_002.png").unlink()
    manifest = import_dataset(W300PrivateImporter(tmp_path), str(tmp_path / "part")).manifest
    assert (manifest.unions, [*manifest.splits]) == ({}, ["private-indoor-part", "private-outdoor"])
    assert manifest.notes == ["01_Indoor is incomplete: 1 of 2 faces"]
