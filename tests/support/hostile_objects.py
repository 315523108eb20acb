"""Damaged objects of every type of a leaderboard, as a stranger may have written them; each says what must name it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from rcn_search.leaderboard.objects import PACK_COLUMNS
from rcn_search.leaderboard.per_image import ImageSet, store_errors
from rcn_search.leaderboard.records import Entry, add_entry, load_entries

Make = Callable[..., Entry]
Damage = Callable[[Path, Make], str]
"""Add an object to the leaderboard in a folder; return what a problem must hold."""
HEADER = "method,year,dataset,subset,keypoints,protocol,normalizer,grid,error_pct,source,note\n"
NAMES = np.array([f"image{n}" for n in range(12)])
CONFIG = "CONFIG OF THE ENTRY"


def canonical(document: object) -> str:
    """JSON in the form whose hash names an entry or an image set."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def entry_with_config(config: str) -> Damage:
    """An entry under its right name, with this JSON as its configuration."""

    def add(folder: Path, make: Make) -> str:
        document = make(method="hostile", config={"x": CONFIG}).model_dump(mode="json")
        text = canonical(document).replace(f'{{"x":"{CONFIG}"}}', config)
        return put(folder / "entries", f"20260101T000000Z-x-{sha256(text.encode())[:12]}.json", text.encode())

    return add


def entry_file(content: bytes, name: str = "") -> Damage:
    """An object in the folder of entries."""
    return lambda folder, make: put(folder / "entries", name or f"{sha256(content)[:9]}.json", content)


def errors_file(content: bytes) -> Damage:
    """Per-image errors under their right name, and an entry that has them, on the images of the sound rows."""

    def add(folder: Path, make: Make) -> str:
        images = next(entry.images_sha256 for entry in load_entries(str(folder))[0].values() if entry.images_sha256)
        name = put(folder / "per_image_errors", f"{sha256(content)}.npy", content)
        add_entry(str(folder), make(method="hostile", num_images=40, images_sha256=images, errors_sha256=name[:64]))
        return name

    return add


def image_set(text: str) -> Damage:
    """An image set under its right name, and entries that were measured on it, more than the sound rows."""

    def add(folder: Path, make: Make) -> str:
        errors = store_errors(str(folder), ImageSet(image_id_n=NAMES, group_n=NAMES), np.zeros(12))["errors_sha256"]
        name = put(folder / "image_sets", f"{sha256(text.encode())}.json", text.encode())
        for epochs in range(20):
            hostile = {"method": "hostile", "epochs": epochs, "num_images": 12, "error_pct": 0.0}
            add_entry(str(folder), make(**hostile, images_sha256=name[:64], errors_sha256=errors))
        return name

    return add


def evaluation_record(content: bytes) -> Damage:
    """A record of an evaluation of the test split."""
    name = f"{sha256(content)[:9]}.json"
    return lambda folder, make: put(folder / "test_evaluations" / "aflw-test", name, content)


def pack_file(content: bytes) -> Damage:
    """A file among the packs."""
    return lambda folder, make: put(folder / "packs", f"{sha256(content)}.arrow", content)


def published_file(content: str | bytes, place: str = "") -> Damage:
    """A file of published rows, damaged at this place."""
    content = content.encode() if isinstance(content, str) else content
    name = f"{sha256(content)[:9]}.csv"
    return lambda folder, make: put(folder / "published", name, content) + place


def special(folder_name: str, name: str, kind: str) -> Damage:
    """A pipe, device, folder or endless link where an object is expected."""

    def add(folder: Path, make: Make) -> str:
        path = folder / folder_name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(path if kind == "loop" else "/dev/zero")
        return path.name

    return add


def arrow_file(*batches: pa.RecordBatch) -> bytes:
    """An Arrow file as a pack is one."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_file(stream, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return stream.getvalue().to_pybytes()


def put(folder: Path, name: str, content: bytes) -> str:
    """Write a file; return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("xb") as stream:
        stream.write(content)
    return name


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def npy(header: bytes, data: bytes = b"") -> bytes:
    """A NumPy file of version 1.0 with any header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


_NAMED = pa.array(["entries/x.json"])
_DICTIONARY = b"{'descr': '<f8', 'fortran_order': False, 'shape': %s, }\n"
HOSTILE: dict[str, Damage] = {
    "entry: torn": entry_file(b'{"method": "hos'),
    "entry: not text": entry_file(b"\xff\xfe\x00"),
    "entry: 100,000 levels": entry_file(b"[" * 100_000),
    "entry: list": entry_file(b"[]"),
    "entry: huge": entry_file(b" " * 2_000_000),
    "entry: config of 900 levels": entry_with_config('{"a":' * 900 + "0" + "}" * 900),
    "entry: lists of 900 levels": entry_with_config('{"a":' + "[" * 900 + "]" * 900 + "}"),
    "entry: half a character": entry_with_config('{"a":"\\ud800"}'),
    "entry: number of 5,000 digits": entry_with_config('{"a":' + "9" * 5_000 + "}"),
    "entry: name with escapes": entry_file(b"{", "\x1b[2J\u202ehostile\nentry.json"),
    "entry: name that is not UTF-8": entry_file(b"{", os.fsdecode(b"hostile\xff.json")),
    **{f"entry: {kind}": special("entries", f"{kind}.json", kind) for kind in ("pipe", "device", "folder", "loop")},
    "errors: empty archive": errors_file(b"PK\x03\x04nozip"),
    "errors: no header": errors_file(b"\x93NUMPY"),
    "errors: header with a token error": errors_file(npy(b"{'descr': '<f8', 'shape': (\n")),
    "errors: objects": errors_file(npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (12,), }\n", b"\x80\x04N.")),
    "errors: shape of words": errors_file(npy(_DICTIONARY % b"('a',)")),
    "errors: too many": errors_file(npy(_DICTIONARY % b"(99999999999,)")),
    "errors: 10,000 levels": errors_file(npy(b"(" * 10_000)),
    "errors: infinite": errors_file(npy(_DICTIONARY % b"(12,)", np.full(12, np.inf).tobytes())),
    "image set: torn": image_set('{"image_id": ['),
    "image set: levels": image_set("[" * 100_000),
    "image set: other types": image_set(canonical({"image_id": [1], "group": {}, "attributes": []})),
    "image set: long name": image_set(
        canonical(
            {"attributes": {}, "group": ["g"] * 12, "image_id": ["x" * 5_000_000, *"abcdefghijk"], "schema_version": 1}
        )
    ),
    "test evaluation: torn": evaluation_record(b"{"),
    "test evaluation: levels": evaluation_record(b"[" * 100_000),
    "test evaluation: pipe": special("test_evaluations/aflw-test", "99.json", "pipe"),
    "pack: empty": pack_file(b""),
    "pack: text": pack_file(b"ARROW1\x00\x00 and no more"),
    "pack: numbers": pack_file(arrow_file(pa.record_batch([pa.array([1])], names=["name"]))),
    "pack: no names": pack_file(
        arrow_file(pa.record_batch([pa.array([None], pa.string()), pa.array([b"{}"])], schema=PACK_COLUMNS))
    ),
    "pack: offsets out of bounds": pack_file(
        arrow_file(pa.record_batch([_NAMED, pa.array([b"{}"])], schema=PACK_COLUMNS)).replace(
            (14).to_bytes(4, "little") + b"\0\0\0\0", (2**31 - 1).to_bytes(4, "little") + b"\0\0\0\0"
        )
    ),
    **{f"pack: {kind}": special("packs", f"{kind}.arrow", kind) for kind in ("pipe", "device", "folder", "loop")},
    "published: escapes": published_file(
        HEADER + "\x1b]0;hostile,2020,aflw,test,five,subpixel,eye_centers,,4,s,n\n", ", line 2"
    ),
    "published: unclosed quote": published_file(HEADER + '"hostile,2020\n', ", line 2 and all after it"),
    "published: NUL": published_file(HEADER + "hostile\0,2020\n"),
    "published: more columns": published_file(HEADER + "," * 50 + "\n", ", line 2"),
    "published: not text": published_file(b"\xff\xfe\x00"),
    "published: huge": published_file(b"a" * (2**24 + 1)),
    **{f"published: {kind}": special("published", f"{kind}.csv", kind) for kind in ("pipe", "device", "folder")},
}
