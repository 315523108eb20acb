from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import FIVE
from rcn_search.leaderboard.external import reading
from rcn_search.leaderboard.external.reading import parse_external, read_external

CSV = "image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\nMüller.png,1,2,3,4,5,6,7,8,9,10\n"
SPIGA = json.dumps(
    [{"imgpath": "Müller.png", "landmarks": np.arange(1, 11).reshape(5, 2).tolist()}], ensure_ascii=False
)


@pytest.mark.parametrize("text", [CSV, SPIGA, "\n " + SPIGA])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_parse_external_reads_what_the_file_looks_like(text: str, encoding: str) -> None:
    (points_k2,) = parse_external(text.encode(encoding), "a.txt", FIVE).faces.values()
    np.testing.assert_array_equal(points_k2, np.arange(1, 11).reshape(5, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CSV.encode("latin-1"), "a.csv is not text in utf-8: invalid start byte at byte 37"),
        (b"\x89PNG\r\n\x1a\n", "a.csv is not text in utf-8"),
        (b"", "a.csv: the file is empty. Expected: image,x1"),
        (b'{"a": 1}', "a.csv: no list of images"),
        (b"image,x1\n", "a.csv: the header has no y of 1. Expected"),
    ],
)
def test_parse_external_refusals_name_the_file(content: bytes, message: str) -> None:
    with pytest.raises(RcnSearchError, match=f"^{message}"):
        parse_external(content, "a.csv", FIVE)


def test_parse_external_obeys_the_format_that_is_named() -> None:
    with pytest.raises(RcnSearchError, match="Expected: image"):
        parse_external(SPIGA.encode(), "a", FIVE, "csv")
    with pytest.raises(RcnSearchError, match="not valid JSON"):
        parse_external(CSV.encode(), "a", FIVE, "coco")
    with pytest.raises(RcnSearchError, match="neither COCO keypoints"):
        parse_external(SPIGA.encode(), "a", FIVE, "coco")


def test_read_external_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV)
    assert list(read_external(str(path), FIVE).faces) == ["Müller.png"]
    monkeypatch.setattr(reading, "MAX_BYTES", 20)
    with pytest.raises(RcnSearchError, match="20 bytes"):
        read_external(str(path), FIVE)
    with pytest.raises(RcnSearchError, match="a has more than 20 bytes"):
        parse_external(CSV.encode(), "a", FIVE)
