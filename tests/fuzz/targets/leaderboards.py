"""Objects of a leaderboard, each beside a sound entry that must always be shown."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from rcn_search.config.schema import canonical_hash
from rcn_search.leaderboard.packing import pack
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import record_test_evaluation
from tests.fuzz.mutations import ARROW, HOSTILE_TEXTS, JSON, NPY, TEXT, Mutate
from tests.fuzz.oracle import Target, Wrong
from tests.fuzz.targets.command_line import run_command
from tests.support.leaderboards import add_measured_entry

SOUND, OTHER = "sound method", "other method"
PUBLISHED = """\
method,year,dataset,subset,keypoints,protocol,normalizer,grid,box_source,error_pct,auc_pct,fr_pct,threshold_pct,origin,source,link,note
TCDCN,2014,aflw,test,five,rcn2016,eye_centers,80,truth,8.0,,,,reported,ECCV 2014 table 1,https://example.org/a,
SDM,2013,aflw,test,five,,eye_centers,,,8.5,,,,reported,CVPR 2013 table 2,,grid not stated
"""
Put = Callable[[Path, bytes], None]
UNSAFE_CELL = re.compile(r"^[=@\t\r]|^[+-](?![\d.]|$|inf|nan)")


def _prepare(folder: Path) -> Path:
    uri = folder / "leaderboard"
    if not uri.exists():
        (uri / "published").mkdir(parents=True)
        (uri / "published/aflw.csv").write_text(PUBLISHED)
        add_measured_entry(str(uri), [5.0, 6, 7, 8], method=SOUND, run_id="aaaaaaaaaaaa")
        add_measured_entry(str(uri), [5.5, 6, 7, 9], method=OTHER, run_id="bbbbbbbbbbbb")
        record_test_evaluation(str(uri), dataset="aflw", subset="test", method=SOUND, run_id="aaaaaaaaaaaa")
        shutil.copytree(uri, folder / "pristine")
    return uri


def _other_entry(folder: Path) -> Path:
    (path,) = (folder / "pristine/entries").glob("*bbbbbbbbbbbb*")
    return path


def _restore(folder: Path, place: str) -> Path:
    """Put the objects of one folder back as they were; the folder."""
    target = folder / "leaderboard" / place
    shutil.rmtree(target, ignore_errors=True)
    source = folder / "pristine" / place
    if source.exists():
        shutil.copytree(source, target)
    else:
        target.mkdir(parents=True)
    return target


def _put_entry(folder: Path, content: bytes) -> None:
    """Put the other entry, under a name that fits its content where that is JSON."""
    entries = _restore(folder, "entries")
    path = _other_entry(folder)
    (entries / path.name).unlink()
    try:
        digest = canonical_hash(json.loads(content))[:12]
    except (ValueError, RecursionError):
        digest = path.stem.rsplit("-", 1)[1]
    (entries / f"20261122T120000Z-bbbbbbbbbbbb-{digest}.json").write_bytes(content)


def _put_named(folder: Path, **fields: str) -> None:
    """Put the other entry with fields that name another object."""
    document = json.loads(_other_entry(folder).read_text()) | fields
    _put_entry(folder, json.dumps(document).encode())


def _put_errors(folder: Path, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    (_restore(folder, "per_image_errors") / f"{digest}.npy").write_bytes(content)
    _put_named(folder, errors_sha256=digest)


def _put_images(folder: Path, content: bytes) -> None:
    try:
        digest = canonical_hash(json.loads(content))
    except (ValueError, RecursionError):
        digest = hashlib.sha256(content).hexdigest()
    (_restore(folder, "image_sets") / f"{digest}.json").write_bytes(content)
    _put_named(folder, images_sha256=digest)


def _put_evaluation(folder: Path, content: bytes) -> None:
    (path,) = (_restore(folder, "test_evaluations") / "aflw-test").iterdir()
    path.write_bytes(content)


def _put_published(folder: Path, content: bytes) -> None:
    (_restore(folder, "published") / "aflw.csv").write_bytes(content)


def _put_pack(folder: Path, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    (_restore(folder, "packs") / f"{digest}.arrow").write_bytes(content)


def _reader(put: Put) -> Put:
    def read(folder: Path, content: bytes) -> None:
        put(folder, content)
        uri = folder / "leaderboard"
        choice = hashlib.sha256(content).digest()[0] % 8
        if choice < 4:
            kind = ("json", "csv", "table", "markdown")[choice]
            text = run_command("leaderboard", "--leaderboard", uri, "--format", kind, "--limit", 0).stdout
            shown = " ".join(text.split())
            if kind == "csv":
                _check_cells(text)
            if SOUND not in shown and "sound" not in shown:
                raise Wrong(f"the sound entry is missing: {text[:300]}")
            return
        site = folder / "site"
        shutil.rmtree(site, ignore_errors=True)
        Site(site).write(build_leaderboard(str(uri)))
        pages = [path.read_text() for path in site.rglob("*.html")]
        if not any(SOUND in page for page in pages):
            raise Wrong("the site does not show the sound entry")
        if any("<script>alert" in page for page in pages):
            raise Wrong("a script of a stranger is in a page")

    return read


def _check_cells(text: str) -> None:
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            if UNSAFE_CELL.search(cell):
                raise Wrong(f"a spreadsheet would run the cell {cell[:40]!r}")


def _seed_entry(folder: Path) -> list[bytes]:
    _prepare(folder)
    return [_other_entry(folder).read_bytes()]


def _seed_of(place: str) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        _prepare(folder)
        found = sorted(path for path in (folder / "pristine" / place).rglob("*") if path.is_file())
        return [path.read_bytes() for path in found]

    return seeds


def _seed_pack(folder: Path) -> list[bytes]:
    _prepare(folder)
    packed = folder / "packed"
    if not packed.exists():
        shutil.copytree(folder / "pristine", packed)
        for path in packed.rglob("*aaaaaaaaaaaa*"):
            path.unlink()  # a pack that damages what it holds does not hold the sound entry
        pack(str(packed))
    return [path.read_bytes() for path in (packed / "packs").iterdir()]


def _edit_entry(content: bytes, random: Random) -> bytes:
    """Change an entry so that it often stays one: its texts, or anything."""
    if random.randrange(2):
        return JSON(content, random)
    document = json.loads(content)
    key = random.choice(
        ["method", "hardware", "code_version", "source", "predictions_uri", "run_id", "config", "created"]
    )
    document[key] = random.choice(HOSTILE_TEXTS)
    if key == "config":
        document[key] = {random.choice(HOSTILE_TEXTS): random.choice(HOSTILE_TEXTS), "data": {"uri": "http://u:p@h/x"}}
    return json.dumps(document).encode()


def _deep_entry() -> list[bytes]:
    document: dict[str, Any] = {"config": 0}
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    return [json.dumps(document | {"config": {"a": deep}}).encode()]


def _target(name: str, seeds: Callable[[Path], list[bytes]], mutate: Mutate, put: Put, **options: Any) -> Target:
    return Target(name=name, prepare=seeds, mutate=mutate, read=_reader(put), num_examples=4, **options)


TARGETS = (
    _target("leaderboard entry", _seed_entry, _edit_entry, _put_entry, hostile=_deep_entry),
    _target(
        "per-image errors",
        _seed_of("per_image_errors"),
        NPY,
        _put_errors,
        hostile=lambda: [b"PK\x03\x04nozip", b"\x93NUMPY\x01\x00", b""],
    ),
    _target("image set", _seed_of("image_sets"), JSON, _put_images),
    _target("test evaluation", _seed_of("test_evaluations"), JSON, _put_evaluation),
    _target("published CSV", _seed_of("published"), TEXT, _put_published),
    _target("pack", _seed_pack, ARROW, _put_pack),
)
