from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from rcn_search.data.dataset import open_dataset
from rcn_search.data.importers import cofw, mat_process
from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.cofw import FILES, Cofw68Importer, CofwImporter
from rcn_search.data.importers.mat_process import ImageProcess
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import IBUG68

FACE = draw_face(0, IBUG68)
POINTS_29 = FACE.points[:29].astype(float) + 0.5  # counted from 1, as published
POINTS_68 = FACE.points.astype(float) + 0.5


def hidden(count: int, num_points: int) -> np.ndarray:
    return np.arange(num_points) < count


def phis(num_hidden: int) -> np.ndarray:
    return np.concatenate([POINTS_29[:, 0], POINTS_29[:, 1], hidden(num_hidden, 29)])


def color_image(number: int) -> np.ndarray:
    """(160, 160, 3), each channel another."""
    return np.stack([FACE.image, 255 - FACE.image, np.full_like(FACE.image, number)], axis=2)


def write_color(path: Path, images: list[np.ndarray], numbers: list[np.ndarray]) -> None:
    """MATLAB 7.3: its own header, then HDF5 in which matrices are transposed and a cell holds references."""
    kind = "Tr" if "train" in path.name else "T"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("#refs#")
        stored = [group.create_dataset(f"v{n}", data=image.T, compression="gzip") for n, image in enumerate(images)]
        file.create_dataset(f"Is{kind}", data=np.array([[each.ref for each in stored]], h5py.ref_dtype))
        file.create_dataset(f"bboxes{kind}", data=np.tile([[10.0], [12], [140], [140]], len(images)))
        file.create_dataset(f"phis{kind}", data=np.array(numbers).T)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))


def write_68(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        content = {"Points": POINTS_68, "Occ": hidden(20, 68)[None].astype(np.uint8)}
        scipy.io.savemat(folder / f"{number}_points.mat", content, do_compression=True)
    scipy.io.savemat(folder.parent / "cofw68_test_bboxes.mat", {"bboxes": np.ones((len(numbers), 4))})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training faces and two test faces, one of them gray."""
    monkeypatch.setattr(cofw, "PUBLISHED_TRAINING", 3)
    monkeypatch.setattr(cofw, "PUBLISHED_TEST", 2)
    root = tmp_path / "COFW"
    write_color(root / FILES["train"], [color_image(n) for n in range(3)], [phis(0), phis(7), phis(8)])
    write_color(root / FILES["test"], [color_image(0), FACE.image], [phis(15), phis(0)])
    return root


def test_cofw_import_keeps_every_point_and_counts_the_hidden_ones(folder: Path, tmp_path: Path) -> None:
    manifest = import_dataset(CofwImporter(folder, color=True), str(tmp_path / "out")).manifest
    assert (manifest.refused, manifest.notes) == ([], [])
    assert (manifest.keypoints, manifest.test_splits) == ("cofw29", {"test": "cofw/test"})
    dataset = open_dataset(str(tmp_path / "out"))
    assert manifest.num_rows("train") + manifest.num_rows("val") == 3
    test = dataset.split("test")
    assert test.image_id_n.tolist() == ["cofw_test_0001", "cofw_test_0002"]
    assert test.visible_nk.all()
    assert test.attributes["occlusion"].tolist() == [3, 0]
    learned = {
        name: occlusion
        for split in map(dataset.split, ("train", "val"))
        for name, occlusion in zip(split.image_id_n.tolist(), split.attributes["occlusion"].tolist(), strict=True)
    }
    assert learned == {"cofw_train_0001": 0, "cofw_train_0002": 1, "cofw_train_0003": 2}
    back = test.points_nk2[0].numpy() * (test.box_n4[0, 2] / 160) + test.box_n4[0, :2]
    np.testing.assert_allclose(back, FACE.points[:29], atol=1e-3)


def test_cofw_images_are_neither_turned_nor_of_exchanged_channels(folder: Path) -> None:
    images = ImageProcess(folder / FILES["train"])
    np.testing.assert_array_equal(images.read(2), color_image(2))
    np.testing.assert_array_equal(ImageProcess(folder / FILES["test"]).read(1), FACE.image)


def test_cofw_with_unreadable_faces_is_a_part(folder: Path, tmp_path: Path) -> None:
    bad = phis(0)
    bad[3], numbers = np.nan, phis(0)
    numbers[60] = 0.5
    images = [color_image(0), color_image(1), color_image(2), color_image(3).astype(np.uint16), color_image(4)[..., :2]]
    write_color(folder / FILES["test"], images, [phis(0), bad, numbers, phis(0), phis(0)])
    (folder / FILES["train"]).unlink()
    manifest = import_dataset(CofwImporter(folder), str(tmp_path / "out")).manifest
    assert manifest.test_splits == {"test-part": "cofw/test-part"}
    assert manifest.notes == [
        "COFW_train_color.mat is missing: 0 of 3 faces",
        "COFW_test_color.mat is incomplete: 1 of 2 faces",
    ]
    said = {refusal.row: refusal.reason for refusal in manifest.refused}
    reasons = ("is not finite", "neither 0 nor 1", "it is uint16 of shape", r"it is uint8 of shape (160, 160, 2)")
    for number, reason in enumerate(reasons, start=2):
        assert reason in said[f"COFW_test_color.mat:{number} cofw_test_{number:04d}"]


def test_cofw_files_that_are_not_the_published_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds neither COFW_train_color.mat nor COFW_test_color.mat"):
        CofwImporter(tmp_path).read_rows()
    write_color(folder / FILES["train"], [color_image(0)], [phis(0), phis(0)])
    with pytest.raises(DatasetError, match=r"phisTr is \(2, 87\), and IsTr has 1 images"):
        CofwImporter(folder).read_rows()
    scipy.io.savemat(folder / FILES["train"], {"phisTr": np.zeros((2, 87))})
    with pytest.raises(DatasetError, match=r"is no file of MATLAB 7.3"):
        CofwImporter(folder).read_rows()
    with h5py.File(folder / FILES["train"], "w") as file:
        file.create_dataset("phisTr", shape=(87, 2_000_000_000), dtype="f8", chunks=(87, 1_000))
    with pytest.raises(DatasetError, match=r"a matrix has the shape \(87, 2000000000\)"):
        CofwImporter(folder).read_rows()


def test_image_process_of_huge_or_foreign_images_refuses_them(folder: Path, tmp_path: Path) -> None:
    path, outside = folder / FILES["test"], tmp_path / "secret"
    outside.write_bytes(b"secret" * 6)
    with h5py.File(path, "w") as file:
        shapes = {"huge": (3, 100_000, 100_000), "small": (3, 2, 6)}
        huge = file.create_dataset("huge", shape=shapes["huge"], dtype="u1", chunks=(1, 100, 100))
        foreign = file.create_dataset("foreign", shape=shapes["small"], dtype="u1", external=[(str(outside), 0, 36)])
        file.create_dataset("IsT", data=np.array([[huge.ref, foreign.ref]], h5py.ref_dtype))
    images = ImageProcess(path)
    with pytest.raises(RowError, match=r"a matrix has the shape \(3, 100000, 100000\)"):
        images.read(0)
    with pytest.raises(RowError, match="a matrix lies in another file"):
        images.read(1)
    with pytest.raises(RowError, match="IndexError"):
        images.read(2)


def test_image_process_that_ends_refuses_one_image_and_starts_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageProcess(folder / FILES["test"])
    images.read(0)
    assert images._process is not None
    images._process.kill()
    with pytest.raises(RowError, match="the process that read it ended with SIGKILL"):
        images.read(1)
    np.testing.assert_array_equal(images.read(1), FACE.image)
    monkeypatch.setattr(mat_process, "_MAX_CRASHES", 1)
    with pytest.raises(RowError, match=r"reading COFW_test_color.mat has failed 1 times"):
        images.read(1)


def test_cofw_68_is_a_test_set_of_the_same_images(folder: Path, tmp_path: Path) -> None:
    write_68(folder / "COFW68_Data/test_annotations", range(1, 3))
    manifest = import_dataset(Cofw68Importer(folder), str(tmp_path / "out")).manifest
    assert (manifest.keypoints, manifest.test_splits) == ("ibug68", {"test": "cofw68/test"})
    assert (manifest.notes, manifest.refused) == ([], [])
    test = open_dataset(str(tmp_path / "out")).split("test")
    assert test.image_id_n.tolist() == ["cofw_test_0001", "cofw_test_0002"]
    assert test.attributes["occlusion"].tolist() == [2, 2]
    back = test.points_nk2[1].numpy() * (test.box_n4[1, 2] / 160) + test.box_n4[1, :2]
    np.testing.assert_allclose(back, FACE.points, atol=1e-3)


def test_cofw_68_damaged_annotation_or_missing_image_is_refused_by_its_row(folder: Path, tmp_path: Path) -> None:
    annotations = folder / "test_annotations"
    write_68(annotations, range(1, 4))
    (annotations / "2_points.mat").write_bytes(b"no MATLAB file")
    scipy.io.savemat(annotations / "10_points.mat", {"Points": POINTS_29, "Occ": np.zeros(29)})
    manifest = import_dataset(Cofw68Importer(folder), str(tmp_path / "out")).manifest
    assert manifest.test_splits == {"test-part": "cofw68/test-part"}
    said = {refusal.row.partition("/")[2]: refusal.reason for refusal in manifest.refused}
    assert [*said] == ["2_points.mat", "3_points.mat", "10_points.mat"]
    assert said["2_points.mat"].startswith("annotation cannot be read: MatReadError")
    assert "IndexError" in said["3_points.mat"]
    assert "Points is (29, 2)" in said["10_points.mat"]


def test_cofw_68_without_its_annotations_names_them(folder: Path) -> None:
    with pytest.raises(DatasetError, match="holds no folder COFW68_Data/test_annotations"):
        Cofw68Importer(folder).read_rows()
    (folder / FILES["test"]).unlink()
    with pytest.raises(DatasetError, match=r"COFW_test_color.mat is missing; it holds the images"):
        Cofw68Importer(folder).read_rows()
