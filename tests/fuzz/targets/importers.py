"""Published layouts: MTFL's lists, .pts files, anno.mat of AFW, and the photographs beside them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random

import h5py
import numpy as np
import scipy.io
from PIL import Image

from rcn_search.data.importers.afw import Afw68Importer, AfwImporter
from rcn_search.data.importers.base import Importer, RowError
from rcn_search.data.importers.cofw import FILES, CofwImporter
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importers.w300 import W300Importer
from rcn_search.data.sample import Sample
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import FIVE, IBUG68
from tests.fuzz.mutations import BINARY, TEXT, Mutate, edit_bytes
from tests.fuzz.oracle import Target, Wrong

Prepare = Callable[[Path], list[bytes]]
Read = Callable[[Path, bytes], None]


def _read_all(importer: Importer) -> None:
    """Read every row as an import does; a refused row says why."""
    for rows in importer.read_rows().values():
        for row in rows[:3]:
            try:
                _check_sample(importer.read_sample(row))
            except RowError as error:
                if not str(error).strip():
                    raise Wrong("a row is refused without a reason") from None


def _check_sample(sample: Sample) -> None:
    for name in ("points", "box", "face_box"):
        if not np.isfinite(getattr(sample, name)).all():
            raise Wrong(f"{name} is not finite")
    if min(sample.box[2:]) <= 0 or min(sample.face_box[2:]) <= 0:
        raise Wrong(f"a face of no size: box {sample.box.tolist()}, face box {sample.face_box.tolist()}")


def _png(number: int, schema: object = FIVE, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(draw_face(number, schema).image).convert("RGB").save(stream, kind)  # type: ignore[arg-type]
    return stream.getvalue()


def _mtfl_line(number: int) -> str:
    face = draw_face(number, FIVE)
    numbers = " ".join(f"{value:.3f}" for value in face.points.T.reshape(-1))
    return f"a\\{number}.png {numbers} " + " ".join(str(value + 1) for value in face.attributes.values())


def _prepare_mtfl(folder: Path) -> list[bytes]:
    (folder / "a").mkdir(exist_ok=True)
    for number in range(2):
        (folder / f"a/{number}.png").write_bytes(_png(number))
    (folder / "testing.txt").write_text(_mtfl_line(1).replace("\\", "/") + "\n")
    return ["\n".join(map(_mtfl_line, range(2))).encode()]


def _read_mtfl(folder: Path, content: bytes) -> None:
    (folder / "training.txt").write_bytes(content)
    _read_all(MtflImporter(folder))


def _pts(number: int) -> bytes:
    lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in draw_face(number, IBUG68).points + 1)
    return f"version: 1\nn_points:  68\n{{\n{lines}\n}}\n".encode()


def _prepare_pts(folder: Path) -> list[bytes]:
    for place in ("afw", "ibug"):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / "face_1.png").write_bytes(_png(0, IBUG68))
    return [_pts(0)]


def _read_w300(folder: Path, content: bytes) -> None:
    (folder / "ibug/face_1.pts").write_bytes(content)
    _read_all(W300Importer(folder))


def _read_afw68(folder: Path, content: bytes) -> None:
    (folder / "afw/face_1.pts").write_bytes(content)
    _read_all(Afw68Importer(folder))


def _anno(folder: Path) -> list[bytes]:
    contents = []
    for is_compressed in (False, True):
        table = np.empty((1, 4), object)
        points = np.array([[60.0, 60], [100, 60], [80, 80], [65, 100], [80, 103], [95, 100]])
        cells = np.empty((1, 1), object)
        cells[0, 0] = points
        table[0] = ["0.png", cells, cells, cells]
        stream = io.BytesIO()
        scipy.io.savemat(stream, {"anno": table}, do_compression=is_compressed)
        contents.append(stream.getvalue())
    (folder / "0.png").write_bytes(_png(0))
    return contents


def _read_anno(folder: Path, content: bytes) -> None:
    (folder / "anno.mat").write_bytes(content)
    _read_all(AfwImporter(folder))


def _cofw(_: Path) -> list[bytes]:
    face, stream = draw_face(0, IBUG68), io.BytesIO()
    with h5py.File(stream, "w", userblock_size=512) as file:
        image = file.create_dataset("image", data=face.image.T, compression="gzip")
        file.create_dataset("IsT", data=np.array([[image.ref]], h5py.ref_dtype))
        numbers = np.concatenate([face.points[:29, 0], face.points[:29, 1], np.zeros(29)])
        file.create_dataset("phisT", data=numbers[:, None].astype(float))
    return [stream.getvalue()]


def _read_cofw(folder: Path, content: bytes) -> None:
    (folder / FILES["test"]).write_bytes(content)
    _read_all(CofwImporter(folder))


def _photos(folder: Path) -> list[bytes]:
    (folder / "ibug").mkdir(exist_ok=True)
    (folder / "ibug/face_1.pts").write_bytes(_pts(0))
    kinds = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
    gray = draw_face(0, IBUG68).image
    odd = [Image.fromarray(gray).convert(mode) for mode in ("1", "P", "LA", "CMYK")]
    stored = [_png(0, IBUG68, kind) for kind in kinds]
    for image in odd:
        stream = io.BytesIO()
        image.save(stream, "JPEG" if image.mode == "CMYK" else "PNG")
        stored.append(stream.getvalue())
    return stored


def _read_photo(folder: Path, content: bytes) -> None:
    (folder / "ibug/face_1.png").write_bytes(content)
    _read_all(W300Importer(folder))


def _deep_gray() -> list[bytes]:
    """Photographs of more than 8 bits: scaled, or refused."""
    wide = draw_face(0, IBUG68).image.astype(np.uint16) * 257
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "PNG")
    return [stream.getvalue()]


def _edit_photo(content: bytes, random: Random) -> bytes:
    return BINARY(content, random) if random.randrange(2) else edit_bytes(content[:200], random) + content[200:]


def _target(name: str, prepare: Prepare, mutate: Mutate, read: Read, *names: str) -> Target:
    return Target(name=name, prepare=prepare, mutate=mutate, read=read, names=names)


TARGETS = (
    _target("MTFL txt", _prepare_mtfl, TEXT, _read_mtfl, "training.txt"),
    _target(".pts of 300-W", _prepare_pts, TEXT, _read_w300),
    _target(".pts of AFW", _prepare_pts, TEXT, _read_afw68),
    Target(name="anno.mat", prepare=_anno, mutate=BINARY, read=_read_anno, names=("anno.mat",), num_examples=2),
    Target(name="COFW mat", prepare=_cofw, mutate=BINARY, read=_read_cofw, names=(FILES["test"],), num_examples=1),
    Target(name="photograph", prepare=_photos, mutate=_edit_photo, read=_read_photo, hostile=_deep_gray),
)
