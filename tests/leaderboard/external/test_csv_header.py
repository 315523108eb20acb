from __future__ import annotations

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import FIVE, IBUG68
from rcn_search.leaderboard.external.csv_header import Columns, expected_header, read_header

IN_TURN = "x1 y1 x2 y2 x3 y3 x4 y4 x5 y5"
NAMED = " ".join(f"{name}_{axis}" for name in FIVE.names for axis in "xy")


def read(header: str) -> Columns:
    return read_header(header.split(" "), FIVE)


@pytest.mark.parametrize(
    ("header", "coordinates"),
    [
        (f"image {IN_TURN}", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("image x1 x2 x3 x4 x5 y1 y2 y3 y4 y5", [1, 6, 2, 7, 3, 8, 4, 9, 5, 10]),
        ("image x0 x1 x2 x3 x4 y0 y1 y2 y3 y4", [1, 6, 2, 7, 3, 8, 4, 9, 5, 10]),
        ("image y0 x0 y1 x1 y2 x2 y3 x3 y4 x4", [2, 1, 4, 3, 6, 5, 8, 7, 10, 9]),
        ("x5 y5 x4 y4 x3 y3 x2 y2 x1 y1 image", [8, 9, 6, 7, 4, 5, 2, 3, 0, 1]),
        (f"image {IN_TURN.upper()}", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("image x_01 y_01 x_02 y_02 x_03 y_03 x_04 y_04 x_05 y_05", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("image x[0] y[0] x[1] y[1] x[2] y[2] x[3] y[3] x[4] y[4]", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("image 1_x 1_y 2_x 2_y 3_x 3_y 4_x 4_y 5_x 5_y", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("image p1x p1y p2x p2y p3x p3y p4x p4y p5x p5y", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (
            "image landmark_0_x landmark_1_x landmark_2_x landmark_3_x landmark_4_x "
            "landmark_0_y landmark_1_y landmark_2_y landmark_3_y landmark_4_y",
            [1, 6, 2, 7, 3, 8, 4, 9, 5, 10],
        ),
        (f"image {NAMED}", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (f"image {NAMED.title()}", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (
            "image nose_x nose_y x_left_eye y_left_eye right-eye.x right-eye.y left_mouth_x left_mouth_y right_mouth_x "
            "right_mouth_y",
            [3, 4, 5, 6, 1, 2, 7, 8, 9, 10],
        ),
    ],
)
def test_read_header_orders_columns_by_name(header: str, coordinates: list[int]) -> None:
    columns = read(header)
    assert columns.coordinates == coordinates
    assert header.split(" ")[columns.image] == "image"
    assert columns.ignored == []


@pytest.mark.parametrize(
    ("before", "after", "ignored"),
    [
        ("image w h", "", ["w", "h"]),
        ("index image", "score", ["index", "score"]),
        ("image", "z1 z2 nose_score v1 Confidence", ["z1", "z2", "nose_score", "v1", "Confidence"]),
        ("image x y w h", "", ["x", "y", "w", "h"]),
        ("image image_width bbox_x1 box-w face_id", "", ["image_width", "bbox_x1", "box-w", "face_id"]),
        (" filename", "", ["without a name"]),
        ("id path", "", ["id"]),
    ],
)
def test_read_header_names_columns_that_are_not_read(before: str, after: str, ignored: list[str]) -> None:
    names = [*before.split(" "), *IN_TURN.split(), *after.split()]
    columns = read_header(names, FIVE)
    assert columns.ignored == ignored
    assert [names[column] for column in columns.coordinates] == IN_TURN.split()


@pytest.mark.parametrize("name", ["image", "File_Name", "imgpath", "image_id", "id", "path", ""])
def test_read_header_finds_column_of_image(name: str) -> None:
    assert read(f"score {name} {IN_TURN}" if name else f" {IN_TURN} score").image == (1 if name else 0)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a.png 1 2 3 4 5 6 7 8 9 10", "the first line has numbers; it must be a header"),
        (f"image q r {IN_TURN}", "unknown columns in the header, remove or rename them: q, r"),
        ("image x y", "unknown columns in the header, remove or rename them: x, y"),
        (f"image {IN_TURN} chin_x chin_y", "unknown columns .*: chin_x, chin_y"),
        (f"picture {IN_TURN}", "no column names the image; call it image, image_id or path"),
        (f"image file {IN_TURN}", "columns 'image' and 'file' may both name the image; keep one of them"),
        (f"image {IN_TURN} X_1", "columns 'x1' and 'X_1' are the same coordinate"),
        ("image x1 y1 x2 y2 x3 y3 x4 y4 x5", "the header has no y of 5"),
        ("image x1 y2", "the header has no x of 2 and no y of 1"),
        ("image x1 y1 x2 y2", "the header has 2 points; 'five' has 5"),
        ("image x1 y1 x2 y2 x3 y3 x4 y4 x6 y6", "number the points from 0 or from 1 without a gap"),
        ("image x2 y2 x3 y3 x4 y4 x5 y5 x6 y6", "number the points from 0 or from 1 without a gap"),
        ("image nose_x nose_y x2 y2 x3 y3 x4 y4 x5 y5", "or name them all as 'five' does"),
        ("image", "the header has 0 points"),
    ],
)
def test_read_header_refuses_what_is_not_clear(header: str, message: str) -> None:
    with pytest.raises(RcnSearchError, match=message):
        read(header)


def test_read_header_names_with_numbers_are_names() -> None:
    header = ["image", *(f"{name}_{axis}" for name in reversed(IBUG68.names) for axis in "xy")]
    assert read_header(header, IBUG68).coordinates[:2] == [135, 136]


def test_expected_header_shows_the_points_of_the_schema() -> None:
    assert expected_header(IBUG68).startswith("image,x1,y1,x2,y2,…,x68,y68 in any order, or image,contour_1_x,")
