from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from rcn_search.data.dataset import Dataset
from rcn_search.data.importers import afw, mat_process
from rcn_search.data.importers.afw import Afw68Importer, AfwImporter, five_of_68
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError, Manifest
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import IBUG68

Faces = list[np.ndarray]
Anno = list[tuple[str, Faces]]
Writer = Callable[[Path, Anno], None]


def six(left: float, top: float) -> np.ndarray:
    """(6, 2) landmarks as published: eyes 40 pixels apart, mouth 40 below, and its center in the fifth row."""
    shape = np.array([[0.0, 0], [40, 0], [20, 20], [5, 40], [20, 43], [35, 40]])
    return shape + np.array([left, top])


def with_nan(points: np.ndarray, row: int) -> np.ndarray:
    out = points.copy()
    out[row, 1] = np.nan
    return out


ANNO: Anno = [
    ("1004467229.jpg", [six(100.25, 90.5)]),
    ("134212.jpg", [six(60, 50), with_nan(six(160, 50), 4), six(170.5, 120)]),
    ("empty.jpg", []),
    ("18489332.jpg", [with_nan(six(100, 90), 0)]),
]
CHOSEN = {"1004467229.jpg#1": six(100.25, 90.5), "134212.jpg#1": six(60, 50), "134212.jpg#3": six(170.5, 120)}


def cell(values: list[np.ndarray]) -> np.ndarray:
    out = np.empty((1, len(values)), object)
    out[0, :] = values or None
    return out


def write_older(path: Path, anno: Anno) -> None:
    table = np.empty((len(anno), 4), object)
    for index, (name, faces) in enumerate(anno):
        boxes = [np.array([face.min(0), face.max(0)]) for face in faces]
        table[index] = [name, *map(cell, (boxes, [np.array([[15.0, 0, -15]])] * len(faces), faces))]
    scipy.io.savemat(path, {"anno": table})


def write_hdf5(path: Path, anno: Anno) -> None:
    """MATLAB 7.3: its own header, then HDF5 in which each matrix is transposed and each cell holds references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("#refs#")

        def stored(value: np.ndarray, **attributes: int) -> h5py.Reference:
            dataset = group.create_dataset(f"v{len(group)}", data=value)
            dataset.attrs.update(attributes)
            return dataset.ref

        def cells(values: list[np.ndarray]) -> h5py.Reference:
            if not values:
                return stored(np.array([1, 0], np.uint64), MATLAB_empty=1)
            references = [[stored(value.T)] for value in values]
            return stored(np.array(references, h5py.ref_dtype))

        columns = [
            [
                stored(np.array([[ord(letter)] for letter in name], np.uint16)),
                cells([np.array([face.min(0), face.max(0)]) for face in faces]),
                cells([np.array([[15.0, 0, -15]])] * len(faces)),
                cells(faces),
            ]
            for name, faces in anno
        ]
        file.create_dataset("anno", data=np.array(columns, h5py.ref_dtype).T)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))


WRITERS = [write_older, write_hdf5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the images, for the annotation that each test writes."""
    root = tmp_path / "AFW"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name, _ in ANNO:
        Image.fromarray(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)).save(root / name)
    return root


def imported(importer: AfwImporter | Afw68Importer, uri: Path) -> Manifest:
    return import_dataset(importer, str(uri)).manifest


@pytest.mark.parametrize("write", WRITERS)
def test_afw_import_selects_complete_faces_and_drops_the_mouth_center(
    folder: Path, tmp_path: Path, write: Writer
) -> None:
    write(folder / "anno.mat", ANNO)
    manifest = imported(AfwImporter(folder), tmp_path / "out")
    assert {name: manifest.num_rows(name) for name in manifest.split_names} == {"afw": 3}
    assert manifest.test_splits == {"afw": "afw/test"}
    assert manifest.notes == ["3 faces have all six landmarks; 2 others are left out; the paper has 377"]
    split = Dataset(str(tmp_path / "out")).split("afw")
    assert split.image_id_n.tolist() == list(CHOSEN)
    assert split.group_n.tolist() == ["1004467229.jpg", "134212.jpg", "134212.jpg"]
    for row, points_62 in enumerate(CHOSEN.values()):
        back = split.points_nk2[row].numpy() * (split.box_n4[row, 2] / 160) + split.box_n4[row, :2]
        np.testing.assert_allclose(back, points_62[[0, 1, 2, 3, 5]], atol=1e-3)
    # By hand: the four points span 40 x 40 from 60, 50; trunc(40 x 1.25) = 50 more, and moved down into the image.
    assert split.box_n4[1].tolist() == [10, 0, 140, 140]
    assert not split.edge_nk.any()


def test_afw_import_of_both_file_formats_is_the_same(folder: Path, tmp_path: Path) -> None:
    manifests = []
    for number, write in enumerate(WRITERS):
        write(folder / "anno.mat", ANNO)
        manifests.append(imported(AfwImporter(folder), tmp_path / str(number)))
    assert manifests[0] == manifests[1]


def test_afw_importer_finds_the_folder_testimages(folder: Path) -> None:
    write_older(folder / "anno.mat", ANNO)
    folder.rename(folder.parent / "testimages")
    assert len(AfwImporter(folder.parent).read_rows()["afw"]) == 3


def test_afw_import_with_unreadable_face_is_named_part(folder: Path, tmp_path: Path) -> None:
    write_older(folder / "anno.mat", ANNO)
    (folder / "1004467229.jpg").unlink()
    manifest = imported(AfwImporter(folder), tmp_path / "out")
    assert manifest.test_splits == {"afw-part": "afw/test-part"}
    assert manifest.num_rows("afw-part") == 2
    assert [refusal.row for refusal in manifest.refused] == ["anno.mat:1 1004467229.jpg#1"]


@pytest.mark.parametrize(("write", "package"), [(write_older, "scipy"), (write_hdf5, "h5py")])
def test_read_anno_without_reader_package_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, write: Writer, package: str
) -> None:
    write(folder / "anno.mat", ANNO)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DatasetError, match=rf"needs {package}; install it with: pip install 'rcn-search\[matlab\]'"):
        AfwImporter(folder).read_rows()


@pytest.mark.parametrize("write", WRITERS)
def test_read_anno_of_unexpected_files_is_refused(folder: Path, write: Writer) -> None:
    path = folder / "anno.mat"
    with pytest.raises(DatasetError, match=r"anno.mat is missing"):
        AfwImporter(folder).read_rows()
    write(path, [("a.jpg", [np.zeros((5, 2))])])
    with pytest.raises(DatasetError, match=r"landmarks of shape \[\(5, 2\)\], not 6x2"):
        AfwImporter(folder).read_rows()
    write(path, [("18489332.jpg", [with_nan(six(0, 0), 1)])])
    with pytest.raises(DatasetError, match="no face with all six landmarks"):
        AfwImporter(folder).read_rows()
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DatasetError, match=r"is not AFW's anno.mat as published"):
        AfwImporter(folder).read_rows()


def change_byte(path: Path, at: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] = value
    path.write_bytes(content)


def test_read_anno_that_crashes_its_reader_is_refused(folder: Path) -> None:
    """One byte of a file of MATLAB 5 ends the process that SciPy runs in."""
    path = folder / "anno.mat"
    write_older(path, [("a.jpg", [six(10, 10)]), ("b.jpg", [six(10, 10), six(20, 20)])])
    change_byte(path, 204, 0x7F)
    with pytest.raises(DatasetError, match=r"anno.mat is not AFW's anno.mat as published: (.*SIGSEGV|.*Error)"):
        AfwImporter(folder).read_rows()


def write_compressed_zeros(path: Path) -> None:
    scipy.io.savemat(path, {"anno": np.zeros((6_000_000, 4))}, do_compression=True)


def write_huge_shape(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("anno", shape=(4, 2_000_000_000), dtype="f8", chunks=(4, 1_000))


def write_large_references(path: Path) -> None:
    """90,000 faces that are all one matrix of 90,000 numbers."""
    with h5py.File(path, "w") as file:
        matrix = file.create_dataset("matrix", data=np.zeros(90_000))
        name = file.create_dataset("name", data=np.array([[97]], np.uint16))
        faces = file.create_dataset("faces", data=np.full((90_000, 1), matrix.ref, h5py.ref_dtype))
        columns = [[name.ref], [faces.ref], [faces.ref], [faces.ref]]
        file.create_dataset("anno", data=np.array(columns, h5py.ref_dtype))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_compressed_zeros, "it asks for more memory than such a file needs"),
        (write_large_references, "it asks for more memory than such a file needs"),
        (write_huge_shape, r"a matrix has the shape \(4, 2000000000\)"),
    ],
)
def test_read_anno_that_asks_for_much_memory_is_refused(
    folder: Path, write: Callable[[Path], None], reason: str
) -> None:
    write(folder / "anno.mat")
    assert (folder / "anno.mat").stat().st_size < 2_000_000
    with pytest.raises(DatasetError, match=reason):
        AfwImporter(folder).read_rows()


def test_read_anno_that_takes_long_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat_process, "_TIMEOUT_S", 0.01)
    write_older(folder / "anno.mat", ANNO)
    with pytest.raises(DatasetError, match=r"reading it takes over 0.01 s"):
        AfwImporter(folder).read_rows()


@pytest.fixture
def afw68(tmp_path: Path) -> Path:
    """Two faces of one photograph, as 300-W publishes AFW."""
    root = tmp_path / "300W/afw"
    root.mkdir(parents=True)
    face = draw_face(0, IBUG68)
    for name in ("134212_1", "134212_2"):
        Image.fromarray(face.image).save(root / f"{name}.jpg")
        lines = [f"{x + 0.5:.6f} {y + 0.5:.6f}" for x, y in face.points]
        (root / f"{name}.pts").write_text("\n".join(["version: 1", "n_points: 68", "{", *lines, "}"]))
    return root


def test_five_of_68_averages_the_eyes() -> None:
    points = np.arange(136, dtype=float).reshape(68, 2)
    expected = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    np.testing.assert_array_equal(five_of_68(points), expected)


def test_afw_68_import_has_its_own_name_and_subset(
    afw68: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = imported(Afw68Importer(afw68), tmp_path / "part")
    assert part.test_splits == {"afw-68-part": "afw-68/test-part"}
    assert part.notes == ["afw is incomplete: 2 of 337 faces"]
    monkeypatch.setattr(afw, "NUM_FACES_68", 2)
    whole = imported(Afw68Importer(afw68.parent), tmp_path / "whole")
    assert (whole.name, whole.keypoints, whole.notes) == ("afw-68", "five", [])
    assert whole.test_splits == {"afw-68": "afw-68/test"}
    assert "mean of its six points" in whole.source
    split = Dataset(str(tmp_path / "whole")).split("afw-68")
    assert split.image_id_n.tolist() == ["134212_1", "134212_2"]
    assert split.group_n.tolist() == ["134212", "134212"]
    back = split.points_nk2[0].numpy() * (split.box_n4[0, 2] / 160) + split.box_n4[0, :2]
    np.testing.assert_allclose(back, five_of_68(draw_face(0, IBUG68).points), atol=1e-3)


def test_afw_68_import_refuses_equal_points_and_ignores_hidden_files(afw68: Path, tmp_path: Path) -> None:
    (afw68 / "134212_2.pts").write_text("80 80\n" * 68)
    (afw68 / "._134212_1.pts").write_bytes(b"\0\5\x16\7")
    (refusal,) = imported(Afw68Importer(afw68), tmp_path / "out").refused
    assert refusal.row == "134212_2.pts"
    assert refusal.reason == "the points span only 0x0 pixels"


def test_afw_68_importer_without_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds 0 .pts files, the published afw has 337"):
        Afw68Importer(tmp_path).read_rows()
