from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rcn_search.data.dataset import ShardedDataset
from rcn_search.data.importers import base, photo
from rcn_search.data.importers.base import ImportSummary, import_dataset
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.shards import DatasetError, read_manifest


@pytest.fixture
def folder(mtfl_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mtfl_folder, tmp_path / "source"))


def import_to(folder: Path, uri: Path, **options: bool) -> ImportSummary:
    return import_dataset(MtflImporter(folder), str(uri), **options)


def change_line(folder: Path, file: str, index: int, change) -> str:
    path = folder / file
    lines = path.read_text().split("\n")
    lines[index] = change(lines[index])
    path.write_text("\n".join(lines))
    return f"{file}:{index + 1}"


def replace_field(index: int, value: str):
    def change(line: str) -> str:
        fields = line.strip().split(" ")
        fields[index] = value
        return " ".join(fields)

    return change


def test_published_split_is_the_papers(tmp_path: Path) -> None:
    (tmp_path / "training.txt").write_text("\n".join(f"row{i}" for i in range(10_000)))
    (tmp_path / "testing.txt").write_text("a\n")
    rows = MtflImporter(tmp_path).read_rows()
    train = [row.line - 1 for row in rows["train"]]
    val = [row.line - 1 for row in rows["val"]]
    assert (len(train), len(val)) == (9_000, 1_000)
    assert train[:6] == [4600, 8841, 6105, 6800, 298, 9928]  # rcn.md 1.1
    assert val[-6:] == [1664, 7669, 7118, 1766, 4895, 229]
    assert set(train) | set(val) == set(range(10_000))


def test_import_accounts_for_every_row(mtfl_uri: str) -> None:
    manifest = read_manifest(mtfl_uri)
    assert {split: manifest.num_rows(split) for split in manifest.splits} == {"train": 18, "val": 2, "aflw": 5}
    assert manifest.refused == []
    assert manifest.subset_of("aflw") == ("aflw", "test")


def test_points_land_on_the_same_part_of_the_picture(mtfl_folder: Path, mtfl_uri: str) -> None:
    """A point, followed through the crop and back, is where the annotation put it."""
    split = ShardedDataset(mtfl_uri).split("aflw")
    row = MtflImporter(mtfl_folder).read_rows()["aflw"][0]
    fields = row.text.split()
    annotated = np.array([fields[1:6], fields[6:11]], float).T
    back = split.points_nk2[0].numpy() * (split.box_n4[0, 2] / 160) + split.box_n4[0, :2]
    np.testing.assert_allclose(back, annotated, atol=1e-3)
    assert split.image_id_n[0] == "AFLW/0020-image.jpg"
    # And the crop shows the picture: grey of the source box, resized.
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
        (replace_field(1, "900"), "lies outside its 160x160 image"),
        (replace_field(1, "nan"), "not finite"),
        (replace_field(1, "abc"), "malformed line"),
        (replace_field(14, "9"), "pose 9 is not in 1..5"),
        (lambda line: " ".join(line.split()[:12]), "12 fields instead of 15"),
    ],
)
def test_bad_rows_are_named_and_the_rest_is_imported(folder: Path, tmp_path: Path, change, reason: str) -> None:
    label = change_line(folder, "training.txt", 3, change)
    summary = import_to(folder, tmp_path / "out")
    assert [refusal.row.split(" ")[0] for refusal in summary.manifest.refused] == [label]
    assert reason in summary.manifest.refused[0].reason
    assert summary.num_rows == 25
    assert sum(summary.manifest.num_rows(split) for split in summary.manifest.splits) == 24


@pytest.mark.parametrize("damage", ["truncated", "not an image", "bomb"])
def test_bad_images_are_named(folder: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "lfw_5590/face_0007.jpg"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1500])
    elif damage == "not an image":
        path.write_bytes(b"hello")
    else:
        monkeypatch.setattr(photo, "MAX_IMAGE_PIXELS", 200 * 200)
        Image.new("RGB", (201, 201)).save(path)
    manifest = import_to(folder, tmp_path / "out").manifest
    assert [refusal.row for refusal in manifest.refused] == ["training.txt:8 lfw_5590\\face_0007.jpg"]
    expected = "over the limit" if damage == "bomb" else "image cannot be read"
    assert expected in manifest.refused[0].reason


def test_strict_stops_and_leaves_nothing_readable(folder: Path, tmp_path: Path) -> None:
    (folder / "lfw_5590/face_0007.jpg").unlink()
    with pytest.raises(DatasetError, match=r"training.txt:8 .*image is missing"):
        import_to(folder, tmp_path / "out", strict=True)
    with pytest.raises(DatasetError, match="no data set"):
        read_manifest(str(tmp_path / "out"))


def test_interrupted_import_is_unreadable_and_can_be_run_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    written: list[str] = []
    write_shard = base.write_shard

    def fail_on_second(uri, split, *args):
        if written:
            raise KeyboardInterrupt
        written.append(split)
        return write_shard(uri, split, *args)

    with monkeypatch.context() as patch:
        patch.setattr(base, "write_shard", fail_on_second)
        with pytest.raises(KeyboardInterrupt):
            import_to(folder, out)
    assert list((out / "shards").iterdir())
    with pytest.raises(DatasetError, match="no data set"):
        read_manifest(str(out))
    assert import_to(folder, out).manifest == import_to(folder, tmp_path / "straight").manifest


def test_second_import_finds_the_first(mtfl_folder: Path, mtfl_uri: str) -> None:
    summary = import_dataset(MtflImporter(mtfl_folder), mtfl_uri)
    assert summary.elapsed_s is None
    assert summary.manifest == read_manifest(mtfl_uri)


def test_destination_of_another_data_set_is_refused(mtfl_folder: Path, synthetic_uri: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="already holds the data set 'synthetic'"):
        import_dataset(MtflImporter(mtfl_folder), synthetic_uri)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DatasetError, match=r"not empty \(it holds 'thesis.tex'\)"):
        import_dataset(MtflImporter(mtfl_folder), str(tmp_path))


def test_missing_source_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"training.txt is missing; SRC must be the unzipped MTFL folder"):
        MtflImporter(tmp_path / "nowhere").read_rows()
