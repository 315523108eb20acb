from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.inference.photographs.listing import Photo, list_photos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of photographs and other files; the working directory."""
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "b/notes.txt", "b/.hidden.jpg", ".git/x.jpg", "out/pictures/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_photos_of_a_folder_are_sorted_and_leave_out_the_output(folder: Path) -> None:
    listed = list_photos(["."], out=Path("out"))
    assert [photo.name for photo in listed.photos] == ["a.jpeg", "b/1.png", "b/2.JPG"]
    assert listed.num_others == 1


def test_list_photos_names_are_as_given_and_short_names_below_the_shared_folder(folder: Path) -> None:
    assert list_photos([str(folder / "b"), "a.jpeg"]).photos == [
        Photo(f"{folder}/b/1.png", "b/1.png"),
        Photo(f"{folder}/b/2.JPG", "b/2.JPG"),
        Photo("a.jpeg", "a.jpeg"),
    ]
    assert list_photos(["b/2.JPG"]).photos == [Photo("b/2.JPG", "2.JPG")]


def test_list_photos_each_once_and_any_suffix_if_named(folder: Path) -> None:
    assert [photo.name for photo in list_photos(["b/notes.txt", "b", "b/1.png"]).photos] == [
        "b/notes.txt",
        "b/1.png",
        "b/2.JPG",
    ]


def test_list_photos_without_photographs_or_files_is_refused(folder: Path) -> None:
    (folder / "c").mkdir()
    (folder / "c" / "report.pdf").touch()
    with pytest.raises(RcnSearchError, match=r"no photograph in c: 1 files, of which none ends in \.bmp, \.jpe, "):
        list_photos(["c"])
    with pytest.raises(RcnSearchError, match=r"there is no file or folder x\.jpg, y"):
        list_photos(["x.jpg", "a.jpeg", "y"])
