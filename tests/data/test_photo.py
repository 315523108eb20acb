from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.photo import open_photo

GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP = GRAY.astype(np.uint16) * 257


def save_pgm(path: Path) -> None:
    path.write_bytes(b"P5 16 16 65535\n" + DEEP.astype(">u2").tobytes())


@pytest.mark.parametrize(
    "save",
    [
        lambda path: Image.fromarray(DEEP).save(path, "PNG"),
        save_pgm,
        lambda path: path.write_bytes(b"P5 16 16 255\n" + GRAY.tobytes()),
        lambda path: Image.fromarray(GRAY).convert("LA").save(path, "PNG"),
        lambda path: Image.fromarray(GRAY).convert("P").save(path, "PNG"),
    ],
    ids=["16-bit PNG", "16-bit PGM", "8-bit PGM", "with alpha", "palette"],
)
def test_open_photo_of_any_gray_has_the_same_pixels(tmp_path: Path, save: Callable[[Path], None]) -> None:
    save(tmp_path / "face")
    assert np.array_equal(np.asarray(open_photo(tmp_path, "face")), np.repeat(GRAY[..., None], 3, axis=2))


def test_open_photo_of_floating_point_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "face.ppm").write_bytes(b"Pf 16 16 -1.0\n" + (GRAY / 255).astype("<f4").tobytes())
    with pytest.raises(RowError, match="has 32 bits per pixel"):
        open_photo(tmp_path, "face.ppm")


def test_open_photo_follows_links(tmp_path: Path) -> None:
    """DVC and git-annex keep photographs elsewhere, and links in their place."""
    (tmp_path / "store").mkdir()
    Image.fromarray(GRAY).save(tmp_path / "store/4a", "PNG")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/face.png").symlink_to(tmp_path / "store/4a")
    (tmp_path / "source/folder").symlink_to(tmp_path / "store")
    for name in ("face.png", "folder/4a"):
        assert open_photo(tmp_path / "source", name).size == (16, 16)


@pytest.mark.parametrize("name", ["../store/4a", "folder/../../store/4a", "/etc/passwd"])
def test_open_photo_of_path_that_leaves_the_source_is_refused(tmp_path: Path, name: str) -> None:
    for folder in ("store", "source/folder"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(GRAY).save(tmp_path / "store/4a", "PNG")
    with pytest.raises(RowError, match="leaves the source folder"):
        open_photo(tmp_path / "source", name)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "image is not a file"),
        (os.mkfifo, "image is not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "image is not a file"),
        (lambda path: path.symlink_to("gone"), "image is missing"),
    ],
    ids=["folder", "pipe", "device", "broken link"],
)
def test_open_photo_of_other_than_a_file_is_refused(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "face.png")
    with pytest.raises(RowError, match=reason):
        open_photo(tmp_path, "face.png")


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_000), (2**30, 2**30), (64_000_001, 1)])
def test_open_photo_of_huge_image_is_refused_by_its_header(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "face.pgm").write_bytes(f"P5 {width} {height} 255\n".encode())
    with pytest.raises(RowError, match=r"over the (pixel )?limit"):
        open_photo(tmp_path, "face.pgm")
