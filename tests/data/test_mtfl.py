from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rcn_search.data import importing
from rcn_search.data.dataset import Dataset
from rcn_search.data.importers import mtfl
from rcn_search.data.importers.base import Row, RowError
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importing import ImportSummary, import_dataset
from rcn_search.data.shards import DatasetError, ShardInfo, read_manifest


@pytest.fixture
def folder(mtfl_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mtfl_folder, tmp_path / "source"))


def import_to(folder: Path, uri: Path, **options: bool) -> ImportSummary:
    return import_dataset(MtflImporter(folder), str(uri), **options)


def change_line(folder: Path, file: str, index: int, change: Callable[[str], str]) -> str:
    path = folder / file
    lines = path.read_text().split("\n")
    lines[index] = change(lines[index])
    path.write_text("\n".join(lines))
    return f"{file}:{index + 1}"


def replace_field(index: int, value: str) -> Callable[[str], str]:
    def change(line: str) -> str:
        fields = line.strip().split(" ")
        fields[index] = value
        return " ".join(fields)

    return change


def test_mtfl_read_rows_splits_as_the_paper(tmp_path: Path) -> None:
    (tmp_path / "training.txt").write_text("\n".join(f"row{i}" for i in range(10_000)))
    (tmp_path / "testing.txt").write_text("a\n")
    rows = MtflImporter(tmp_path).read_rows()
    train = [row.line - 1 for row in rows["train"]]
    val = [row.line - 1 for row in rows["val"]]
    assert (len(train), len(val)) == (9_000, 1_000)
    assert train[:6] == [4600, 8841, 6105, 6800, 298, 9928]  # as the paper's code
    assert val[-6:] == [1664, 7669, 7118, 1766, 4895, 229]
    assert set(train) | set(val) == set(range(10_000))


def test_mtfl_import_stores_every_row(mtfl_uri: str) -> None:
    manifest = read_manifest(mtfl_uri)
    assert {split: manifest.num_rows(split) for split in manifest.splits} == {"train": 18, "val": 2, "aflw": 5}
    assert manifest.refused == []
    assert manifest.dataset_and_subset("aflw") == ("aflw", "test")


def test_mtfl_import_keeps_points_on_the_same_part_of_the_image(mtfl_folder: Path, mtfl_uri: str) -> None:
    split = Dataset(mtfl_uri).split("aflw")
    row = MtflImporter(mtfl_folder).read_rows()["aflw"][0]
    fields = row.text.split()
    annotated = np.array([fields[1:6], fields[6:11]], float).T
    back = split.points_nk2[0].numpy() * (split.box_n4[0, 2] / 160) + split.box_n4[0, :2]
    np.testing.assert_allclose(back, annotated, atol=1e-3)
    assert split.image_id_n[0] == "AFLW/0020-image.jpg"
    # The crop shows the source box, resized, in gray.
    image = Image.open(mtfl_folder / "AFLW/0020-image.jpg")
    x, y, width, _ = split.box_n4[0].astype(int)
    expected = image.crop((x, y, x + width, y + width)).resize((160, 160), Image.Resampling.LANCZOS).convert("L")
    torch.testing.assert_close(split.images_at(torch.tensor([0]))[0], torch.from_numpy(np.array(expected)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace_field(0, "lfw_5590\\gone.jpg"), "image is missing"),
        (replace_field(0, "..\\..\\..\\etc\\passwd"), "leaves the source folder"),
        (replace_field(0, "/etc/passwd"), "leaves the source folder"),
        (replace_field(0, "lfw_5590\\face\0.jpg"), "image cannot be read: embedded null byte"),
        (replace_field(1, "900"), "lies outside its 160x160 image"),
        (replace_field(1, "nan"), "not finite"),
        (replace_field(1, "abc"), "malformed line"),
        (replace_field(1, "1_0"), "'1_0' is not a number"),
        (replace_field(1, "\u0661\u0660"), "is not a number"),
        (replace_field(11, "3"), "gender 3 is not in 1..2"),
        (replace_field(11, "0"), "gender 0 is not in 1..2"),
        (replace_field(14, "6"), "pose 6 is not in 1..5"),
        (replace_field(14, "1.5"), "malformed line: invalid literal"),
        (replace_field(14, "9" * 5_000), "malformed line: Exceeds the limit"),
        (lambda line: " ".join(line.split()[:12]), "12 fields instead of 15"),
    ],
)
def test_mtfl_import_refuses_bad_rows_and_imports_the_rest(
    folder: Path, tmp_path: Path, change: Callable[[str], str], reason: str
) -> None:
    label = change_line(folder, "training.txt", 3, change)
    summary = import_to(folder, tmp_path / "out")
    assert [refusal.row.split(" ")[0] for refusal in summary.manifest.refused] == [label]
    assert reason in summary.manifest.refused[0].reason
    assert summary.num_rows == 25
    assert sum(summary.manifest.num_rows(split) for split in summary.manifest.splits) == 24


@pytest.mark.parametrize("first", ["AFLW/0020-image.jpg", "lfw_5590/face_0003.jpg"])
def test_import_dataset_refuses_a_second_face_of_the_same_name(folder: Path, tmp_path: Path, first: str) -> None:
    label = change_line(folder, "testing.txt", 2, replace_field(0, first))
    manifest = import_to(folder, tmp_path / "out").manifest
    assert manifest.num_rows("aflw") == 4
    assert [refusal.row for refusal in manifest.refused] == [f"{label} {first}"]
    assert f"the face {first!r} was imported already, from t" in manifest.refused[0].reason


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1500])


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "image cannot be read: image file is truncated"),
        (link_to_itself, "image cannot be read: "),
        (lambda path: path.write_bytes(b"hello"), "image cannot be read: cannot identify"),
        (lambda path: Image.new("RGB", (160, 160)).save(path, "EPS"), "image cannot be read: cannot identify"),
        (lambda path: path.write_bytes(b"P3 160 160 255 1 2 three"), "image cannot be read: invalid literal"),
        (lambda path: Image.new("1", (8_000, 8_001)).save(path, "PNG"), "is over the limit of 64,000,000"),
        (lambda path: Image.new("1", (14_000, 14_000)).save(path, "PNG"), "is over the pixel limit"),
    ],
    ids=["truncated", "loop", "not an image", "other format", "decoder", "large", "bomb"],
)
def test_mtfl_import_refuses_bad_images(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(folder / "lfw_5590/face_0007.jpg")
    manifest = import_to(folder, tmp_path / "out").manifest
    assert [refusal.row for refusal in manifest.refused] == ["training.txt:8 lfw_5590\\face_0007.jpg"]
    assert reason in manifest.refused[0].reason


def test_open_photo_of_huge_image_does_not_warn(tmp_path: Path) -> None:
    """Run in another process, because pytest has its own filters."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.jpg", "PNG")
    program = (
        "from pathlib import Path; from rcn_search.data.importers import photo; photo.open_photo(Path(), 'large.jpg')"
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True).stderr
    assert "RowError: image of 10000x10000 pixels is over the limit of 64,000,000" in printed
    assert "Warning" not in printed


def test_mtfl_import_of_equal_points_is_refused(folder: Path, tmp_path: Path) -> None:
    label = change_line(folder, "testing.txt", 0, lambda line: " ".join([line.split()[0], *["80"] * 10, *"1111"]))
    (refusal,) = import_to(folder, tmp_path / "out").manifest.refused
    assert refusal.row.split(" ")[0] == label
    assert refusal.reason == "the points span only 0x0 pixels"


def test_mtfl_import_of_long_malformed_lines_keeps_the_reasons_short(folder: Path, tmp_path: Path) -> None:
    change_line(folder, "testing.txt", 0, replace_field(1, "x" * 100_000))
    (refusal,) = import_to(folder, tmp_path / "out").manifest.refused
    assert refusal.reason.startswith("malformed line: could not convert string to float: 'xxx")
    assert len(refusal.reason) == 300


def test_mtfl_import_notes_missing_and_additional_faces(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "AFLW/0021-image.jpg").unlink()
    assert import_to(folder, tmp_path / "part").manifest.notes == [
        "training.txt is incomplete: 20 of 10,000 faces",
        "testing.txt is incomplete: 4 of 2,995 faces",
    ]
    monkeypatch.setattr(mtfl, "PUBLISHED", {"training.txt": 20, "testing.txt": 3})
    assert import_to(folder, tmp_path / "more").manifest.notes == ["testing.txt has 4 faces, but 3 were published"]


@pytest.mark.parametrize("content", [b"a b\n" * 200_001, b"x" * 16_000_001], ids=["lines", "bytes"])
def test_mtfl_read_rows_of_huge_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "training.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=r"training.txt is too large for MTFL"):
        MtflImporter(tmp_path).read_rows()


def test_mtfl_read_rows_splits_lines_only_at_line_feeds(folder: Path) -> None:
    path = folder / "training.txt"
    lines = path.read_bytes().split(b"\r\n")[:-1]
    lines[3] += "\u2028\x0b\x0c\x85".encode() + b"1"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    importer = MtflImporter(folder)
    rows = importer.read_rows()
    by_line = {row.line: row for row in rows["train"] + rows["val"]}
    assert sorted(by_line) == list(range(1, 21))
    assert {number: importer.read_sample(row).image_id for number, row in by_line.items() if number != 4} == {
        number: f"lfw_5590/face_{number - 1:04d}.jpg" for number in by_line if number != 4
    }
    with pytest.raises(RowError, match="16 fields instead of 15"):
        importer.read_sample(by_line[4])


def test_mtfl_read_sample_boxes_and_attributes_by_hand(tmp_path: Path) -> None:
    """Compute by hand what docs/explanation/model-specification.md, "Data and crops", defines.

    Outer box: eyes 48 apart, mouth 36 below; the points span 48 x 36, made square y0 -= 6, y1 += 6: 30..78 x 84..132;
    margin trunc(48 * 1.25) = 60: -30..138 x 24..192, shifted right by 30.
    Inner box: all times 160 / 168: eyes 45.71 apart from 28.57 to 74.29 at 62.86, mouth at 97.14; the points span
    28..74 x 62..97, made square y0 -= 6, y1 += 5: 56..102; margin trunc(45.71 * 0.95) = 43: -15..117 x 13..145, shifted
    right by 15.
    """
    Image.new("RGB", (320, 240)).save(tmp_path / "face.png")
    sample = MtflImporter(tmp_path).read_sample(
        Row("training.txt", 1, "face.png 30 78 54 39 69 90 90 108 126 126 2 1 1 4")
    )
    assert sample.box.tolist() == [0, 24, 168, 168]
    assert sample.face_box.tolist() == [0, 13, 132, 132]
    assert sample.attributes == {"gender": 1, "smile": 0, "glasses": 0, "pose": 3}


def test_mtfl_import_stores_attributes_by_name(folder: Path, tmp_path: Path) -> None:
    change_line(folder, "testing.txt", 0, lambda line: " ".join([*line.split()[:11], "2", "1", "1", "4"]))
    import_to(folder, tmp_path / "out")
    stored = Dataset(str(tmp_path / "out")).split("aflw").attributes
    assert {name: int(values[0]) for name, values in stored.items()} == {
        "gender": 1,
        "smile": 0,
        "glasses": 0,
        "pose": 3,
    }


def test_import_dataset_strict_stops_at_bad_row_without_manifest(folder: Path, tmp_path: Path) -> None:
    (folder / "lfw_5590/face_0007.jpg").unlink()
    with pytest.raises(DatasetError, match=r"training.txt:8 .*image is missing"):
        import_to(folder, tmp_path / "out", strict=True)
    with pytest.raises(DatasetError, match="no data set"):
        read_manifest(str(tmp_path / "out"))


def test_import_dataset_after_interruption_starts_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    written: list[str] = []
    write_shard = importing.write_shard

    def fail_on_second(uri: str, split: str, *args: Any) -> ShardInfo:
        if written:
            raise KeyboardInterrupt
        written.append(split)
        return write_shard(uri, split, *args)

    with monkeypatch.context() as patch:
        patch.setattr(importing, "write_shard", fail_on_second)
        with pytest.raises(KeyboardInterrupt):
            import_to(folder, out)
    assert list((out / "shards").iterdir())
    with pytest.raises(DatasetError, match="no data set"):
        read_manifest(str(out))
    assert import_to(folder, out).manifest == import_to(folder, tmp_path / "straight").manifest


def test_import_dataset_twice_does_nothing(mtfl_folder: Path, mtfl_uri: str) -> None:
    summary = import_dataset(MtflImporter(mtfl_folder), mtfl_uri)
    assert summary.elapsed_s is None
    assert summary.manifest == read_manifest(mtfl_uri)


def test_import_dataset_to_used_destination_is_refused(mtfl_folder: Path, synthetic_uri: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="already holds the data set 'synthetic'"):
        import_dataset(MtflImporter(mtfl_folder), synthetic_uri)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DatasetError, match=r"not empty \(it holds 'thesis.tex'\)"):
        import_dataset(MtflImporter(mtfl_folder), str(tmp_path))


def test_mtfl_importer_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"training.txt is missing; the source folder must be the unzipped MTFL folder"
    ):
        MtflImporter(tmp_path / "nowhere").read_rows()
