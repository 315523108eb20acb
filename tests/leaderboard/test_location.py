from __future__ import annotations

import json
from pathlib import Path

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard import location
from rcn_search.leaderboard.location import (
    default_leaderboard,
    existing_leaderboard,
    require_leaderboard,
    resolve_leaderboard,
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without $RCN_SEARCH_LEADERBOARD."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RCN_SEARCH_LEADERBOARD", raising=False)
    return tmp_path


def test_default_leaderboard_order_of_locations(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_leaderboard() == str(location.PROJECT_LEADERBOARD)
    (empty_folder / "leaderboard").mkdir()
    assert default_leaderboard() == "leaderboard"
    monkeypatch.setenv("RCN_SEARCH_LEADERBOARD", "s3://bucket/leaderboard")
    assert default_leaderboard() == "s3://bucket/leaderboard"


def test_default_leaderboard_missing_names_remedy(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "PROJECT_LEADERBOARD", empty_folder / "none")
    with pytest.raises(RcnSearchError, match=r"--leaderboard or \$RCN_SEARCH_LEADERBOARD"):
        default_leaderboard()


def test_resolve_leaderboard_prefers_named_one(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCN_SEARCH_LEADERBOARD", "s3://bucket/ours")
    assert resolve_leaderboard("s3://bucket/mine") == "s3://bucket/mine"
    assert resolve_leaderboard("") == "s3://bucket/ours"


def test_resolve_leaderboard_without_any_is_the_users_own() -> None:
    assert resolve_leaderboard("") == "leaderboard"


@pytest.mark.parametrize(("folder", "own"), [(".", "runs/leaderboard"), ("docs", "../runs/leaderboard")])
def test_resolve_leaderboard_in_checkout_is_not_the_repositorys(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, folder: str, own: str
) -> None:
    """Or a user's first evaluation would be the repository's 76th, and a change of the clone."""
    for name in ("leaderboard", "docs"):
        (empty_folder / name).mkdir()
    monkeypatch.setattr(location, "PROJECT_LEADERBOARD", empty_folder / "leaderboard")
    monkeypatch.setattr(location, "is_checkout", lambda: True)
    monkeypatch.chdir(folder)
    assert resolve_leaderboard("") == own
    assert (
        Path(default_leaderboard()).resolve()
        == Path(existing_leaderboard("")).resolve()
        == empty_folder / "leaderboard"
    )
    assert resolve_leaderboard(str(empty_folder / "leaderboard")) == str(empty_folder / "leaderboard"), "if it is named"


def test_resolve_leaderboard_of_project_below_a_checkout_is_its_own(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_folder / "mine" / "leaderboard").mkdir(parents=True)
    monkeypatch.setattr(location, "PROJECT_LEADERBOARD", empty_folder / "leaderboard")
    monkeypatch.setattr(location, "is_checkout", lambda: True)
    monkeypatch.chdir("mine")
    assert resolve_leaderboard("") == "leaderboard"


def test_require_leaderboard_without_any_names_remedy() -> None:
    with pytest.raises(RcnSearchError, match=r"name a folder or URI with --leaderboard"):
        require_leaderboard(None)


def test_resolve_leaderboard_in_copy_of_ray_job_is_refused(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"metadata": {"job_submission_id": "x"}, "runtime_env": {"working_dir": "gcs://x.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    (empty_folder / "leaderboard").mkdir()
    assert resolve_leaderboard("") is None
    with pytest.raises(RcnSearchError, match="--leaderboard"):
        resolve_leaderboard("leaderboard")


def test_leaderboard_of_installed_package_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "is_checkout", lambda: False)
    assert resolve_leaderboard("") == "leaderboard"
    for find in (resolve_leaderboard, existing_leaderboard):
        with pytest.raises(RcnSearchError, match="part of the installed package"):
            find(str(location.PROJECT_LEADERBOARD))
    with pytest.raises(RcnSearchError, match="part of the installed package"):
        existing_leaderboard("")
