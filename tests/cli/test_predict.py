from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from rcn_search.cli.main import app
from rcn_search.inference.video.frames import VideoWriter
from tests.conftest import CommandLine
from tests.support.photographs import astronaut


@pytest.fixture
def photo(cli: CommandLine) -> Path:
    """A photograph in the working directory."""
    astronaut().save("astronaut.jpg")
    return Path("astronaut.jpg")


def test_predict_prints_a_table_and_draws_a_picture(cli: CommandLine, checkpoint: Path, photo: Path) -> None:
    printed = cli.run("predict", photo, "--model", checkpoint, "--out", "out", "--detector", "dlib")
    assert "point x y confidence left eye" in printed
    assert "1 faces on 1 photographs" in printed
    (face,) = json.loads(Path("out/points.json").read_text())
    assert face["imgpath"] == "astronaut.jpg"
    assert len(face["landmarks"]) == 5
    with Image.open("out/pictures/astronaut.jpg.jpg") as drawn:
        assert drawn.size == (512, 512)


def test_predict_prints_csv_for_a_pipe(cli: CommandLine, checkpoint: Path, photo: Path) -> None:
    result = CliRunner().invoke(
        app, ["predict", str(photo), "-m", str(checkpoint.parent), "--detector", "none", "--format", "csv"]
    )
    (line,) = csv.DictReader(result.stdout.splitlines())
    assert line["image"] == "astronaut.jpg"
    assert float(line["x5"]) < 512
    assert result.stderr == ""


def test_predict_folder_names_what_cannot_be_read_and_says_where_no_face_is(
    cli: CommandLine, checkpoint: Path, photo: Path
) -> None:
    folder = Path("photos")
    folder.mkdir()
    photo.rename(folder / "a.jpg")
    Image.new("RGB", (60, 40)).save(folder / "blank.png")
    (folder / "zero.png").touch()
    (folder / "text.jpg").write_text("no photograph")
    (folder / "report.pdf").write_bytes(b"%PDF-1.7")
    Image.new("1", (20_000, 10_000)).save(folder / "large.png")
    result = CliRunner().invoke(app, ["predict", "photos", "-m", str(checkpoint), "--detector", "dlib"])
    assert result.exit_code == 0
    warned = result.stderr.splitlines()
    assert len(warned) == 3
    assert "photos/large.png: image is over the pixel limit" in warned[0]
    assert "photos/text.jpg: image cannot be read" in warned[1]
    assert "photos/zero.png: image cannot be read" in warned[2]
    assert "1 faces on 5 photographs, 1 without a face, 3 could not be read, 1 other files left out" in result.stdout
    assert "photos/blank.png  no face" in result.stdout


def test_predict_photograph_that_is_none_fails(cli: CommandLine, checkpoint: Path) -> None:
    Path("report.pdf").write_bytes(b"%PDF-1.7")
    result = CliRunner().invoke(app, ["predict", "report.pdf", "-m", str(checkpoint), "--detector", "none"])
    assert result.exit_code == 1
    assert "warning: report.pdf: image cannot be read" in result.stderr


def test_predict_resumes_where_it_was_interrupted(cli: CommandLine, checkpoint: Path, photo: Path) -> None:
    Path("photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Path("photos", name).write_bytes(photo.read_bytes())
    line = ("predict", "photos", "-m", checkpoint, "--detector", "none", "--out", "out", "--format", "csv")
    cli.run(*line)
    whole = Path("out/points.csv").read_bytes()
    journal = Path("out/photographs.jsonl")
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))
    assert "holds predictions: continue with --resume" in cli.fail(*line)
    assert "resumed after 1 of 3 photographs" in cli.run(*line, "--resume")
    assert Path("out/points.csv").read_bytes() == whole
    assert "was made with detector 'none', not 'dlib'" in cli.fail(*line, "--resume", "--detector", "dlib")


def test_predict_boxes_of_a_file_are_used(cli: CommandLine, checkpoint: Path, photo: Path) -> None:
    Path("boxes.csv").write_text("image,x,y,width,height\nastronaut.jpg,150,40,150,150\nastronaut.jpg,9,9,90,90\n")
    cli.run("predict", photo, "-m", checkpoint, "--boxes", "boxes.csv", "--out", "out", "--no-pictures")
    assert [face["box"] for face in json.loads(Path("out/points.json").read_text())] == [
        [150, 40, 150, 150],
        [9, 9, 90, 90],
    ]
    assert not Path("out/pictures").exists()


def test_predict_video_prints_its_jitter_and_writes_its_points(cli: CommandLine, checkpoint: Path, photo: Path) -> None:
    writer = VideoWriter(Path("a.mp4"), 25)
    for _ in range(3):
        writer.write(astronaut())
    writer.close()
    printed = cli.run("predict", "a.mp4", photo, "-m", checkpoint, "--detector", "dlib", "--out", "out")
    assert "a.mp4: 3 frames, 0 without a face;" in printed
    assert "1 faces on 1 photographs" in printed
    assert len(Path("out/a.mp4.csv").read_text().splitlines()) == 4
    assert Path("out/a.mp4.mp4").exists()
    assert "--detector none is for photographs" in cli.fail("predict", "a.mp4", "-m", checkpoint, "--detector", "none")
    Path("b.avi").touch()
    assert "b.avi is not a readable video" in cli.fail("predict", "b.avi", "-m", checkpoint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere.jpg"], "there is no file or folder nowhere.jpg"),
        (["astronaut.jpg", "--out", "astronaut.jpg"], "astronaut.jpg is a file; --out needs a folder"),
        (["astronaut.jpg", "--format", "parquet"], "Parquet and --resume need a folder: give --out DIR"),
        (["astronaut.jpg", "--resume"], "Parquet and --resume need a folder"),
        (["astronaut.jpg", "--detector", "yolo"], "there is no detector 'yolo'"),
        (["astronaut.jpg", "--model", "rcn9"], "no checkpoint at rcn9; the models that come with rcn-search:"),
        (["astronaut.jpg", "--model", "."], "no checkpoint at best.safetensors"),
        (["astronaut.jpg", "--boxes", "astronaut.jpg"], "astronaut.jpg is not a CSV file"),
    ],
)
def test_predict_refuses_bad_input(
    cli: CommandLine, checkpoint: Path, photo: Path, options: list[str], message: str
) -> None:
    assert message in cli.fail("predict", "-m", checkpoint, *options)


def test_predict_imports_neither_ray_nor_optuna(cli: CommandLine, checkpoint: Path, photo: Path) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from rcn_search.cli.main import app\n"
        f"result = CliRunner().invoke(app, ['predict', 'astronaut.jpg', '-m', {str(checkpoint)!r}])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert '1 faces' in result.output\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'ray', 'optuna', 'sklearn', 'matplotlib'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
