from __future__ import annotations

import pytest

from rcn_search.leaderboard.external.matching import match_images

W300 = ["helen/testset/3151235633_1", "lfpw/testset/image_0001", "ibug/image_092 _01", "ibug/image_003_1"]


@pytest.mark.parametrize(
    "names",
    [
        W300,
        [f"{name}.jpg" for name in W300],
        [f"/home/me/{name}.PNG" for name in W300],
        [f"C:\\data\\{name}.jpg".replace("/", "\\") for name in W300],
        ["images/test/" + name.rpartition("/")[2].replace(" ", "") + ".jpg" for name in W300],  # SPIGA's published file
        [name.rpartition("/")[2].replace(" ", "") for name in W300],
        [name.replace(" ", "") + ".pts" for name in W300],
        [f"./{name.rpartition('/')[2]}" for name in W300],
    ],
)
def test_match_images_finds_all_by_path_or_unique_file_name(names: list[str]) -> None:
    assert match_images(names, W300) == dict(enumerate(names))
    assert match_images(reversed(names), W300) == dict(enumerate(names))


@pytest.mark.parametrize(
    ("names", "ids", "expected"),
    [
        # Two names for one image, or two images for one name.
        (["a/1.png", "b/1.png"], ["1.png"], {}),
        (["1.png", "2.png", "x/indoor/1.png"], ["indoor/1.png", "outdoor/1.png", "outdoor/2.png"], {0: 2, 2: 1}),
        (["x/1.jpg"], ["a/1", "b/1"], {}),
        (["x/1.jpg", "y/1.jpg"], ["a/1"], {}),
        (["ab.jpg"], ["a b", "ab"], {1: 0}),
        (["ab.jpg"], ["a b", "a  b"], {}),
        # The whole name comes first, and an image that has its prediction makes others ambiguous nevertheless.
        (["1.png", "z/1.png"], ["1.png"], {0: 0}),
        (["a/1", "c/1"], ["a/1", "b/1"], {0: 0}),
        (["z/a/1", "z/1"], ["a/1", "1"], {0: 0, 1: 1}),
        # Other folders are other images where some folders are right.
        (["helen/1.jpg", "lfpw/2.jpg"], ["helen/1", "ibug/2"], {0: 0}),
        # Suffixes of images only, and whole names of files and folders.
        (["1.0.jpg", "2.0"], ["1.0", "2"], {0: 0}),
        (["11.png", "1.png.png"], ["1.png"], {}),
        (["face_1.png"], ["1.png"], {}),
        (["u\u0308.jpg"], ["\u00fc"], {0: 0}),
        ([], ["1"], {}),
    ],
)
def test_match_images_pairs_one_to_one(names: list[str], ids: list[str], expected: dict[int, int]) -> None:
    assert match_images(names, ids) == {row: names[name] for row, name in expected.items()}


def test_match_images_same_file_name_everywhere_is_quick() -> None:
    """Both lists are read once: 5,000 names that fit nothing, against 2,000 images of the same file name."""
    ids = [f"{n}/face.png" for n in range(2_000)]
    assert match_images([f"x{n}/face.png" for n in range(5_000)], ids) == {}
