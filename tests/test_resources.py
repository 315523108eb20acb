from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search import resources
from rcn_search.config.loading import ConfigError, load_train_config, read_yaml

REPOSITORY = Path(__file__).parents[1]


def test_resource_path_in_a_checkout_is_its_own_file() -> None:
    assert resources.is_checkout()
    assert resources.resource_path("leaderboard/published") == REPOSITORY / "leaderboard/published"


def test_resource_path_in_an_installation_is_packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pyproject.toml in site-packages, of whatever origin, does not make it a checkout."""
    (tmp_path / "rcn_search/packaged").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "rcn_search")
    monkeypatch.setattr(resources, "_WHEEL_FILES", tmp_path / "rcn_search/packaged")
    assert not resources.is_checkout()
    assert resources.resource_path("configs") == tmp_path / "rcn_search/packaged/configs"
    assert resources.config_names(resources.CONFIGS) == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("rcn", "search_spaces/rcn.yaml"),
        ("rcn6", "configs/rcn6.yaml"),
        ("search_spaces/rcn.yaml", "search_spaces/rcn.yaml"),
        ("rcn.yaml", None),
        ("configs/rcn.yaml", None),
        ("s3://bucket/rcn", None),
        ("../rcn", None),
        ("", None),
    ],
)
def test_find_config_takes_names_and_paths_of_the_checkout(name: str, path: str | None) -> None:
    assert resources.find_config(name) == (REPOSITORY / path if path else None)


def test_read_yaml_prefers_a_file_of_that_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_train_config("rcn6").model.name == "rcn"
    Path("rcn6").mkdir()
    assert load_train_config("rcn6").model.name == "rcn"
    Path("rcn6").rmdir()
    Path("rcn6").write_text("{a: 1}")
    assert read_yaml("rcn6")[0] == {"a": 1}
    with pytest.raises(
        ConfigError, match=r"rcn7: no such file; .*convergence, .*quickstart, .*studies\), .*rcn6, .*\(train"
    ):
        read_yaml("rcn7")
