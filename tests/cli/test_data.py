from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from rcn_search.data.shards import read_manifest, write_manifest
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import IBUG68
from tests.conftest import CommandLine
from tests.support.shards import replace_shard, shard_bytes


@pytest.fixture
def source(mtfl_folder: Path, tmp_path: Path) -> Path:
    """A copy of the published folder, to damage."""
    return Path(shutil.copytree(mtfl_folder, tmp_path / "source"))


@pytest.fixture
def data(synthetic_uri: str, tmp_path: Path) -> Path:
    """A copy of a data set, to damage."""
    return Path(shutil.copytree(synthetic_uri, tmp_path / "data"))


def test_data_commands_of_generated_faces(cli: CommandLine, tmp_path: Path) -> None:
    generate = (
        "data",
        "generate",
        "faces",
        "--keypoints",
        "ibug68",
        "--train",
        6,
        "--val",
        2,
        "--test",
        1,
        "--seed",
        3,
    )
    printed = cli.run(*generate)
    assert "9 rows: 9 imported (train 6, val 2, test 1), 0 refused;" in printed
    assert "images/s" in printed
    fingerprint = read_manifest("faces").fingerprint
    assert f"fingerprint {fingerprint}" in printed
    assert "faces already holds this data set: train 6, val 2, test 1" in cli.run(*generate)

    info = cli.run("data", "info", "faces")
    for text in ("ibug68 (68)", "gender, smile, glasses, pose", "Apache-2.0", fingerprint, "refused rows 0"):
        assert text in info
    assert "train 6 1" in info
    assert "every evaluation is counted" in info.split("test 1 1")[1]

    assert cli.run("data", "verify", "faces") == "3 shards, 9 rows: all intact"
    assert "2 faces of val → val.png" in cli.run("data", "show", "faces", "--split", "val", "--out", "val.png")
    assert "4 faces of train → grid.png" in cli.run("data", "show", "faces", "--count", 4)
    few, many = (Image.open(tmp_path / name) for name in ("val.png", "grid.png"))
    assert few.format == "PNG"
    assert few.width * few.height < many.width * many.height


def test_data_generate_to_other_data_set_is_refused(cli: CommandLine, data: Path) -> None:
    before = (data / "manifest.json").read_bytes()
    problem = cli.fail("data", "generate", data, "--train", 2, "--val", 1, "--test", 1)
    assert problem.startswith(f"{data} already holds the data set 'synthetic' (fingerprint ")
    assert problem.endswith("choose another destination or remove it first")
    assert (data / "manifest.json").read_bytes() == before


def test_data_import_300w_in_color_prints_missing_folders(cli: CommandLine, tmp_path: Path) -> None:
    face = draw_face(0, IBUG68)
    for name in ("afw/1_1", "afw/1_2", "afw/2_1", "helen/testset/3_1"):
        (tmp_path / "300W" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face.image).convert("RGB").save(tmp_path / "300W" / f"{name}.jpg")
        (tmp_path / "300W" / f"{name}.pts").write_text("\n".join(f"{x} {y}" for x, y in face.points + 1))
    line = ("data", "import", "300w", "300W", "out", "--color")
    printed = cli.run(*line)
    assert "note: afw is incomplete: 3 of 337 faces" in printed
    assert "note: lfpw/testset is missing: 0 of 224 faces" in printed
    assert "note: no subset challenging, common, full: not all its faces are here" in printed
    assert "4 rows: 4 imported (train 2, val 1, helen-test-part 1), 0 refused;" in printed
    again = cli.run(*line)
    assert "out already holds this data set" in again
    assert "note: afw is incomplete" in again
    info = cli.run("data", "info", "out")
    assert "images color" in info
    assert "ibug is missing: 0 of 135 faces" in info
    assert "helen-test-part 1 1 0.1 test split: every evaluation is counted" in info
    assert cli.run("data", "verify", "out") == "3 shards, 4 rows: all intact"
    assert "2 faces of train → grid.png" in cli.run("data", "show", "out")


def test_data_info_and_show_of_union(cli: CommandLine, data: Path) -> None:
    manifest = read_manifest(str(data))
    (data / "manifest.json").unlink()
    write_manifest(str(data), manifest.model_copy(update={"unions": {"both": ["train", "val"]}}))
    assert "both 120 2 3.1 train + val" in cli.run("data", "info", data)
    assert "144 rows: all intact" in cli.run("data", "verify", data)
    assert "2 faces of both → grid.png" in cli.run("data", "show", data, "--split", "both", "--count", 2)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [(truncate, r" bytes instead of "), (flip_a_bit, "its content does not match its hash"), (Path.unlink, "missing")],
)
def test_data_verify_and_show_of_damaged_shard_fail(
    cli: CommandLine, data: Path, damage: Callable[[Path], None], problem: str
) -> None:
    damage(data / "shards/val-00000.arrow")
    message = cli.fail("data", "verify", data)
    assert message.startswith(f"{data} is damaged, 1 problems in 3 shards:\n{data}/shards/val-00000.arrow: ")
    assert problem in message
    assert f"damaged shard {data}/shards/val-00000.arrow: " in cli.fail("data", "show", data, "--split", "val")
    assert cli.run("data", "show", data, "--split", "train", "--count", 1)


def test_data_verify_lists_every_damaged_shard(cli: CommandLine, data: Path) -> None:
    for split in ("train", "test"):
        flip_a_bit(data / f"shards/{split}-00000.arrow")
    message = cli.fail("data", "verify", data)
    assert message.startswith(f"{data} is damaged, 2 problems in 3 shards:\n")
    assert [line.partition(":")[0] for line in message.splitlines()[1:]] == [
        f"{data}/shards/{split}-00000.arrow" for split in ("train", "test")
    ]


def test_data_commands_of_shard_that_crashes_arrow_name_it(cli: CommandLine, data: Path) -> None:
    """With an offset of the last image id beyond the text, `evaluate` ended with a segmentation fault."""

    def with_broken_offset(table: pa.Table) -> bytes:
        content = shard_bytes(table)
        last = np.frombuffer(table.column("image_id").chunk(0).buffers()[1], np.int32)[-2:].tobytes()
        assert content.count(last) >= 1
        return content.replace(last, last[:4] + (0x7FFFFFFF).to_bytes(4, "little"))

    shard = replace_shard(data, "val", with_broken_offset)
    for line in (("verify", data), ("show", data, "--split", "val")):
        problem = cli.fail("data", *line)
        assert f"{shard}: its Arrow content cannot be read: ArrowInvalid" in problem


def edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edited(path: Path) -> None:
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return edited


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Path.unlink, "no data set at {uri}: manifest.json is missing. Create one with 'rcn-search data import'"),
        (truncate, "{uri}/manifest.json is not valid JSON"),
        (lambda path: path.write_text("[]"), "{uri}: manifest of schema version None; this rcn-search reads 1"),
        (edit(lambda manifest: manifest.update(schema_version=2)), "{uri}: manifest of schema version 2"),
        (edit(lambda manifest: manifest.update(name="aflw")), "the manifest does not match its own fingerprint"),
        (
            edit(lambda manifest: manifest["splits"]["val"][0].update(file="../../etc/passwd")),
            "{uri}: damaged manifest",
        ),
    ],
    ids=["missing", "truncated", "list", "version", "edited", "path"],
)
@pytest.mark.parametrize("command", ["info", "verify", "show"])
def test_data_commands_of_damaged_manifest_fail(
    cli: CommandLine, data: Path, command: str, damage: Callable[[Path], None], problem: str
) -> None:
    damage(data / "manifest.json")
    assert problem.format(uri=data) in cli.fail("data", command, data)


def test_data_import_prints_refused_rows(cli: CommandLine, source: Path) -> None:
    (source / "lfw_5590/face_0003.jpg").unlink()
    (source / "AFLW/0021-image.jpg").write_bytes((source / "AFLW/0022-image.jpg").read_bytes()[:999])
    printed = cli.run("data", "import", "mtfl", source, "out")
    assert "refused training.txt:4 lfw_5590\\face_0003.jpg: image is missing" in printed
    assert "refused testing.txt:2 AFLW/0021-image.jpg: image cannot be read" in printed
    assert "25 rows: 23 imported (train " in printed
    assert "aflw 4), 2 refused;" in printed
    assert "refused rows 2" in cli.run("data", "info", "out")


def test_data_import_prints_the_first_ten_refused_rows(cli: CommandLine, source: Path) -> None:
    with (source / "testing.txt").open("a") as stream:  # after its line of one blank, which is now a row too
        stream.writelines(f"gone{number}.jpg 1 2\n" for number in range(22))
    printed = cli.run("data", "import", "mtfl", source, "out")
    assert printed.count("refused testing.txt:") == 10
    assert "… and 13 more; all are listed in out/manifest.json" in printed
    assert "note: testing.txt is incomplete: 5 of 2,995 faces" in printed
    assert len(read_manifest("out").refused) == 23


def test_data_import_strict_fails_at_bad_row(cli: CommandLine, source: Path, tmp_path: Path) -> None:
    (source / "lfw_5590/face_0003.jpg").unlink()
    problem = cli.fail("data", "import", "mtfl", source, "out", "--strict")
    assert problem == "training.txt:4 lfw_5590\\face_0003.jpg: image is missing (--strict)"
    assert "no data set at out" in cli.fail("data", "info", "out")
    assert "1 refused" in cli.run("data", "import", "mtfl", source, "out")


@contextmanager
def disk_of(num_bytes: int) -> Iterator[None]:
    """Within: no file of this process can grow beyond this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_data_import_on_full_disk_leaves_no_data_set(cli: CommandLine, source: Path, tmp_path: Path) -> None:
    with disk_of(100_000):
        assert "File too large" in cli.fail("data", "import", "mtfl", source, "out")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["import_claim.json"]
    assert "no data set at out" in cli.fail("data", "info", "out")
    assert "25 rows: 25 imported" in cli.run("data", "import", "mtfl", source, "out")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("import lapa {source} out", "unknown format 'lapa'; known: points, mtfl, 300w, afw, afw-68"),
        ("import 300w {source} out", "{source} holds no .pts file in any of afw, helen/trainset, lfpw/trainset, helen"),
        ("import afw {source} out", "{source}/anno.mat is missing; the source folder must hold it and its images"),
        ("import afw-68 {source} out", "{source} holds 0 .pts files, the published afw has 337; the source folder"),
        (
            "import mtfl nowhere out",
            "nowhere/training.txt is missing; the source folder must be the unzipped MTFL folder",
        ),
        ("import mtfl {source} {synthetic}", "{synthetic} already holds the data set 'synthetic'"),
        ("import mtfl {source} {source}", "{source} is not empty (it holds 'AFLW'); choose an empty destination"),
        ("import mtfl {source} {source}/training.txt", "{source}/training.txt is a file; choose an empty folder"),
        ("generate out --keypoints six", "unknown keypoint schema 'six'; known: five, ibug68"),
        ("info nowhere", "no data set at nowhere: manifest.json is missing"),
        ("verify nowhere", "no data set at nowhere"),
        ("show nowhere", "no data set at nowhere"),
        ("show {synthetic} --split aflw", "{synthetic} has no split 'aflw'; it has: train, val, test"),
        ("show {synthetic} --out {source}", "must end in one of .png, .svg, .pdf"),
        ("info gopher://a/b", "Protocol not known: gopher"),
    ],
)
def test_data_commands_with_invalid_arguments_fail(
    cli: CommandLine, source: Path, synthetic_uri: str, line: str, problem: str
) -> None:
    names = {"source": source, "synthetic": synthetic_uri}
    assert problem.format(**names) in cli.fail("data", *line.format(**names).split())


@pytest.mark.parametrize("command", ["import", "generate", "info", "verify", "show"])
def test_data_commands_help_has_an_example(cli: CommandLine, command: str) -> None:
    assert f"Example: rcn-search data {command} " in cli.run("data", command, "--help")
