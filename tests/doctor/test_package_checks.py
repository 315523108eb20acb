from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from rcn_search.doctor import package_checks
from tests.support.doctor import state_of


def test_check_requirements_names_missing_and_old_packages() -> None:
    def installed(name: str) -> str:
        if name in ("aiohttp_cors", "aiohttp-cors"):  # of ray[default], without which `ray job` does not work
            raise PackageNotFoundError(name)
        return "1.0" if name == "optuna" else version(name)

    result = package_checks.check_requirements(installed)
    assert state_of(result) == "problem"
    assert "required by ray, but not installed" in result.message
    assert "required by rcn-search, but 1.0 is installed" in result.message
    assert "'optuna>=5" in result.remedy or "'optuna<" in result.remedy
    assert state_of(package_checks.check_requirements()) == "ok"


def test_check_tested_versions_names_differences() -> None:
    tested = package_checks.read_constraints("# what was tested\nray==2.60.0\nTorch==0.1  # old\nboto3==9\n")
    assert tested == {"ray": "2.60.0", "torch": "0.1", "boto3": "9"}
    result = package_checks.check_tested_versions(tested)
    assert state_of(result) == "warning"
    assert result.message == f"torch {version('torch').partition('+')[0]}, tested with 0.1"
    same = {"ray": "2.60.0", "torch": "0.1+cu130"}
    assert state_of(package_checks.check_tested_versions(tested, same.__getitem__)) == "ok"


def test_check_packages_compares_with_the_tested_versions() -> None:
    assert [result.topic for result in package_checks.check_packages()] == ["packages", "tested versions"]
