"""Previews of search spaces: settings drawn, networks built and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rcn_search.config.errors import ConfigError
from rcn_search.models import build_model
from rcn_search.models.complexity import count_parameters, multiply_adds
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study_report.space_preview import format_count, histogram, preview_space
from tests.conftest import CommandLine

NUM_SETTINGS = 400


def test_preview_space_counts_costs_of_networks_and_drawn_parameters(write_study: Callable[..., str]) -> None:
    space = load_study_config(
        write_study(search={"model.branches": {"int": [2, 4]}, "model.name": {"choice": ["rcn"]}}, initial_trials=[])
    )
    calls = []
    report = preview_space(
        space, num_points=5, num_settings=NUM_SETTINGS, on_setting=lambda done, total: calls.append((done, total))
    )
    assert calls == [(done, NUM_SETTINGS) for done in range(1, NUM_SETTINGS + 1)]
    # With 2 and 3 branches 8, 16, 24 or 32 channels; with 4 branches the paper's list or 16, skip or not.
    networks = [
        build_model(
            space.train_config({"model.branches": branches, "model.channels": channels, "model.skip": skip}).model,
            num_points=5,
        )
        for branches, widths, skips in (
            (2, (8, 16, 24, 32), [False]),
            (3, (8, 16, 24, 32), [False]),
            (4, ("paper", 16), [False, True]),
        )
        for channels in widths
        for skip in skips
    ]
    assert report.num_networks == len(networks) == 12
    assert set(report.num_parameters) == {count_parameters(network) for network in networks}
    assert set(report.multiply_adds) == {multiply_adds(network, 80) for network in networks}
    drawn = report.num_drawn
    assert drawn["model.branches"] == drawn["optimizer.lr"] == NUM_SETTINGS
    assert drawn["model.channels[0]"] == drawn["model.skip"] == NUM_SETTINGS - drawn["model.channels[1]"]
    assert 100 < drawn["model.skip"] < 170
    assert drawn["model.skip", True] + drawn["model.skip", False] == drawn["model.skip"]
    again = preview_space(space, num_points=5, num_settings=NUM_SETTINGS)
    assert again == report
    assert preview_space(space, num_points=5, num_settings=NUM_SETTINGS, seed=1) != report


def test_preview_space_names_an_illegal_setting(document: dict[str, Any]) -> None:
    document["search"] = {"augment.occluder.max_px": {"int": [25, 60]}, "augment.occluder.min_px": {"int": [0, 40]}}
    document["initial_trials"] = []
    space = StudyConfig.model_validate(document)  # `load_space` would not let it pass
    with pytest.raises(ConfigError, match=r"setting \d+ of 400 is not legal: .*min_px (\d+) is larger than") as raised:
        preview_space(space, num_points=5, num_settings=NUM_SETTINGS)
    assert "Setting: augment.occluder.max_px=" in str(raised.value)


def test_histogram_has_ten_bins_or_one_value() -> None:
    lines = histogram([10, 10, 10, 20])
    assert len(lines) == 10
    assert lines[0] == "10 – 11 " + "▇" * 40 + " 75.0%"
    assert lines[-1] == "19 – 20 " + "▇" * 13 + " 25.0%"
    assert histogram([5, 5]) == ["5 always"]
    # From 1e3 to 1e9: each bin is four times as wide as the one before.
    assert histogram([1_000, 3_000, 1_000_000_000])[0].split(" ▇")[0].strip() == "1 k – 3.98 k"


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (999, "999"), (1_000, "1 k"), (310_229, "310 k"), (93_304_832, "93.3 M"), (1.33e9, "1.33 G")],
)
def test_format_count_has_three_digits(value: float, text: str) -> None:
    assert format_count(value) == text


def test_study_check_command_prints_costs_and_parameters(
    cli: CommandLine, write_study: Callable[..., str], synthetic_uri: str
) -> None:
    path = write_study(search={"model.branches": {"int": [2, 4]}}, initial_trials=[], constraints={"parameters": 5_000})
    printed = cli.run("study", "check", path, "--data", synthetic_uri, "--settings", "50")
    assert "50 settings of 9 parameters, all legal" in printed
    assert "within constraints.parameters = 5,000" in printed
    assert "for 5 points" in printed
    assert "model.skip" in printed
    # Without the data set its number of points is a guess, and the guess is printed.
    assert "no data set at" in cli.run("study", "check", path, "--settings", "2")


def test_study_check_command_of_an_illegal_space_fails(cli: CommandLine, write_study: Callable[..., str]) -> None:
    path = write_study(search={"model.branches": {"int": [2, 9]}}, initial_trials=[])
    assert "search.model.branches = 9" in cli.fail("study", "check", path)
