"""``rcn-search leaderboard …`` as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search.config.schema import TrainConfig
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.evaluation.score import Estimate, Part
from rcn_search.leaderboard.records import Entry, add_entry, load_entries
from rcn_search.models import build_model
from rcn_search.training.checkpoint import CheckpointInfo, network_tensors
from tests.support.checkpoints import write_checkpoint

Add = Callable[..., str]
BASE = np.random.default_rng(0).gamma(4, 1.4, 300)


@pytest.fixture
def leaderboard(cli: Any, store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The leaderboard of the command line."""
    monkeypatch.setenv("RCN_SEARCH_LEADERBOARD", store)
    return store


def test_compare_prints_both_methods(cli: Any, add_measured: Add, leaderboard: str) -> None:
    add_measured(leaderboard, BASE, method="[b]A[/b]")
    add_measured(leaderboard, BASE + 1 + np.random.default_rng(1).normal(0, 1, 300), method="B")
    output = cli.run("leaderboard", "compare", "[b]A[/b]", "B")
    assert output.startswith("aflw test, 300 images · rcn2016: five points")
    assert "[b]A[/b] is better than B by 0.90 points" in output
    add_measured(leaderboard, BASE, method="C", protocol=subpixel("aflw", "test", "five"))
    assert cli.fail("leaderboard", "compare", "B", "C").startswith(
        "not comparable: they were measured differently (grid"
    )


def test_rescore_requires_entries_or_all(cli: Any, add_measured: Add, leaderboard: str) -> None:
    add_measured(leaderboard, BASE, method="A")
    assert "name the entries to score again, or give --all" in cli.fail("leaderboard", "rescore")
    assert "no normalizer is called 'nose'; known are eye-centers" in cli.fail(
        "leaderboard", "rescore", "--all", "--normalizer", "nose"
    )
    from typer.testing import CliRunner

    from rcn_search.cli.main import app

    result = CliRunner().invoke(app, ["leaderboard", "rescore", "A", "--normalizer", "outer-eye"])
    assert result.exit_code == 1
    assert "which is not in the leaderboard; name it with --predictions" in result.stdout
    assert "0 of 1 entries scored again" in result.stdout


@pytest.fixture
def entered(
    cli: Any, tiny_config: TrainConfig, synthetic_uri: str, leaderboard: str, tmp_path: Path
) -> tuple[str, Entry]:
    """A checkpoint that was never trained, and its entry."""
    checkpoint = str(tmp_path / "best.safetensors")
    info = CheckpointInfo(
        kind="weights",
        config=tiny_config,
        keypoints="five",
        data_fingerprint="f",
        epoch=2,
        val_error_pct=1.0,
        train_s=9,
    )
    write_checkpoint(checkpoint, info, network_tensors(build_model(tiny_config.model, num_points=5)))
    cli.run(
        *("evaluate", checkpoint, "--data", synthetic_uri, "--split", "test", "--submit", "--decoder", "median"),
        *("--method", "Mine", "--predictions", str(tmp_path / "p.parquet")),
    )
    return checkpoint, next(
        e for e in load_entries(leaderboard)[0].values() if e.protocol == rcn2016("synthetic", "test", "five")
    )


def test_verify_accepts_own_checkpoint_only(
    cli: Any, entered: tuple[str, Entry], synthetic_uri: str, tiny_config: TrainConfig, leaderboard: str
) -> None:
    checkpoint, entry = entered
    assert entry.made_with == {"decoder": "median", "tta": "none"}
    (entry_id,) = (key for key, loaded in load_entries(leaderboard)[0].items() if loaded == entry)
    line = ("leaderboard", "verify", entry_id, "--checkpoint", checkpoint, "--data", synthetic_uri)
    output = cli.run(*line)
    assert "test evaluation no. 2 of this split largest change of one image: 0.0000 percentage points" in output
    assert f"verified: {entry.error_pct:.4f} % now" in output
    old = add_entry(leaderboard, entry.model_copy(update={"run_id": "0" * 12}))  # run ids were hashes of other keys
    assert "verified: " in cli.run("leaderboard", "verify", Path(old).stem, *line[3:])
    assert "not verified; error: " in cli.fail(*line, "--decoder", "argmax")  # another decoder of the same maps
    assert "has 3 entries; name one of them" in cli.fail("leaderboard", "verify", "Mine", *line[3:])
    other = TrainConfig.model_validate(tiny_config.model_dump() | {"seed": 7})
    info = CheckpointInfo(
        kind="weights", config=other, keypoints="five", data_fingerprint="f", epoch=2, val_error_pct=1.0, train_s=9
    )
    write_checkpoint(checkpoint, info, network_tensors(build_model(other.model, num_points=5)))
    assert f"not verified; run id: {entry.run_id} in the entry, {other.run_id} now" in cli.fail(*line)


def test_show_omits_tables_of_published_rows(cli: Any, add_measured: Add, leaderboard: str) -> None:
    everything = cli.run("leaderboard")
    assert "WFLW pose" in everything, "with nothing measured there is nothing else to show"
    add_measured(leaderboard, BASE, method="A")
    output = cli.run("leaderboard")
    assert "AFLW test · rcn2016" in output
    assert "WFLW" not in output
    assert "tables of published rows only (--include-published, or --dataset)" in output
    assert "WFLW pose" in cli.run("leaderboard", "--include-published")
    assert "WFLW pose" in cli.run("leaderboard", "--dataset", "wflw")


@pytest.mark.parametrize("output", ["table", "markdown", "latex", "csv", "json"])
def test_show_unknown_data_set_is_refused(cli: Any, output: str) -> None:
    problem = cli.fail("leaderboard", "--dataset", "alfw", "--format", output)
    assert problem.startswith("the leaderboard has no data set 'alfw'; it has 300w, aflw, afw, ")


def test_help_has_an_example(cli: Any) -> None:
    for name in ("", "compare", "add", "rescore", "verify", "figure", "build-site", "serve"):
        output = cli.run("leaderboard", *filter(None, [name]), "--help")
        assert f"Example: rcn-search leaderboard {name}".rstrip() in output


def test_show_by_attribute_names_classes(cli: Any, leaderboard: str, add_measured: Add) -> None:
    parts = {f"pose {number}": Part(40, Estimate(4.0 + number)) for number in (4, 0)}
    add_measured(leaderboard, BASE, method="A", parts=parts)
    add_measured(leaderboard, BASE + 1, method="B")
    add_measured(leaderboard, BASE + 1, method="C", protocol=rcn2016("afw", "test", "five"))
    output = cli.run("leaderboard", "--format", "markdown", "--by-attribute", "pose")
    assert "| left profile | right profile |" in output
    assert "| 4.00 | 8.00 |" in output
    assert "AFW test" not in output
    assert "profile" in cli.run("leaderboard", "--by-attribute", "pose")
    assert "attributes with errors by class: pose" in cli.fail("leaderboard", "--by-attribute", "light")
    assert "--by-attribute does not apply to --format json" in cli.fail(
        "leaderboard", "--by-attribute", "pose", "--format", "json"
    )
