"""``rcn-search leaderboard add`` as a user types it: a preview first, then, if it is confirmed, entries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rcn_search import storage
from rcn_search.cli import add
from rcn_search.cli.main import app
from rcn_search.data.crops import crop_to_image
from rcn_search.data.dataset import open_dataset
from rcn_search.leaderboard.published import PUBLISHED
from rcn_search.leaderboard.records import load_entries


@pytest.fixture
def line(cli: Any, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Write the truth, changed, as CSV without its first image; the command line that adds it."""
    (tmp_path / "leaderboard" / PUBLISHED).mkdir(parents=True)
    monkeypatch.setenv("RCN_SEARCH_LEADERBOARD", str(tmp_path / "leaderboard"))
    dataset = open_dataset(synthetic_uri)
    split = dataset.split("test")
    points_nk2 = crop_to_image(split.points_nk2.numpy(), split.box_n4, dataset.manifest.crop_px)

    def write(change: Callable[[np.ndarray], np.ndarray] = lambda points: points) -> list[str]:
        header = "image," + ",".join(f"{axis}{k}" for k in range(1, 6) for axis in "xy") + ",score"
        rows = [
            ",".join([str(name), *map(str, points_k2.reshape(-1)), "1"])
            for name, points_k2 in zip(split.image_id_n, change(points_nk2), strict=True)
        ]
        (tmp_path / "r.csv").write_text("\n".join([header, *rows[1:]]))
        return ["leaderboard", "add", "r.csv", "--method", "Rival", "--data", synthetic_uri, "--split", "test"]

    return write


def entries(tmp_path: Path) -> int:
    return len(load_entries(str(tmp_path / "leaderboard"))[0])


def num_counted(tmp_path: Path) -> int:
    return len(storage.list_names(str(tmp_path / "leaderboard" / "test_evaluations" / "synthetic-test")))


def test_add_shows_a_preview_then_adds_entries(cli: Any, line: Callable[..., list[str]], tmp_path: Path) -> None:
    output = cli.run(*line(lambda points: points - 1), "--normalizer", "box", "--pixel-offset", "1", "--yes")
    preview, _, added = output.partition("of eye_centers")
    assert preview.startswith(
        "23 of 24 images have a prediction columns not read: score images without a prediction: 1 ("
    )
    assert "in pixels of the original image: point true x y predicted x y distance left_eye " in preview
    assert preview.endswith("median distance 0.00 px, 0.00 % ")
    assert "test evaluation no. 1 of this split" in added
    assert added.count("→") == 3
    found, _ = load_entries(str(tmp_path / "leaderboard"))
    assert {entry.made_with["shift_px"] for entry in found.values()} == {1}
    shown = cli.run("leaderboard", "--dataset", "synthetic")
    assert "1 images without a finite prediction" in shown
    assert "subpixel-box" in shown
    # Predictions that add stored can be scored again.
    assert "1 of 3 entries scored again" in cli.run("leaderboard", "rescore", "Rival", "--normalizer", "diagonal")


def test_add_without_terminal_or_yes_adds_nothing(cli: Any, line: Callable[..., list[str]], tmp_path: Path) -> None:
    message = cli.fail(*line())
    assert message == "nothing was counted or added; look at the preview above, then repeat it with --yes"
    assert (entries(tmp_path), num_counted(tmp_path)) == (0, 0)


@pytest.mark.parametrize(("answer", "num_entries"), [("y", 2), ("n", 0), ("", 0)])
def test_add_on_a_terminal_asks(
    line: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, num_entries: int
) -> None:
    monkeypatch.setattr(add, "is_terminal", lambda: True)
    result = CliRunner().invoke(app, line(), input=f"{answer}\n")
    assert "median distance 0.00 px" in result.stdout.partition("Count a test evaluation and add entries?")[0]
    assert ("nothing was counted or added" in result.stdout) == (num_entries == 0)
    assert (result.exit_code, entries(tmp_path), num_counted(tmp_path)) == (
        int(num_entries == 0),
        num_entries,
        num_entries // 2,
    )


def test_add_implausible_predictions_need_force(cli: Any, line: Callable[..., list[str]], tmp_path: Path) -> None:
    words = line(lambda points: points[:, ::-1])
    message = cli.fail(*words, "--yes")
    assert message.startswith("nothing was counted or added: the median error is ")
    assert message.endswith("If the predictions are as bad as that, add them with --force")
    assert (entries(tmp_path), num_counted(tmp_path)) == (0, 0)
    assert "→" in cli.run(*words, "--yes", "--force")
    assert (entries(tmp_path), num_counted(tmp_path)) == (2, 1)


def test_add_prints_a_hint(cli: Any, line: Callable[..., list[str]]) -> None:
    output = cli.run(*line(lambda points: points + 1), "--yes")
    assert "hint: all points may be off by (1.00, 1.00) px, as --pixel-offset -1.00 mends; without that" in output
