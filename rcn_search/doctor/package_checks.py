"""Checks of the installed packages: whether all requirements are met, those of extras included, and were tested."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rcn_search.doctor.check_result import CheckResult, ok, problem, warning
from rcn_search.resources import resource_path

NAME = "rcn-search"
TESTED_VERSIONS = resource_path("constraints.txt")

InstalledVersion = Callable[[str], str]


def check_packages() -> list[CheckResult]:
    """Check the packages of this Python."""
    tested = read_constraints(TESTED_VERSIONS.read_text(encoding="utf-8")) if TESTED_VERSIONS.is_file() else {}
    return [check_requirements(), *([check_tested_versions(tested)] if tested else [])]


def check_requirements(installed: InstalledVersion = version) -> CheckResult:
    """Check that every required package is installed in a version that can be used."""
    unmet = sorted(set(unmet_requirements(NAME, frozenset(), installed)))
    if unmet:
        requirements = " ".join(repr(line.partition(": ")[0]) for line in unmet)
        return problem("packages", "; ".join(unmet), f"pip install {requirements}")
    ray, torch = installed("ray"), installed("torch")
    return ok("packages", f"Python {platform.python_version()}, Ray {ray}, torch {torch}, {NAME} {installed(NAME)}")


def unmet_requirements(name: str, extras: frozenset[str], installed: InstalledVersion) -> Iterator[str]:
    """Yield the unmet requirements of a distribution, those of the extras that it requires of others included."""
    for line in requires(name) or ():
        requirement = Requirement(line)
        if not _applies(requirement, extras):
            continue
        required = f"{requirement.name}{requirement.specifier}"
        try:
            found = installed(requirement.name)
        except PackageNotFoundError:
            yield f"{required}: required by {name}, but not installed"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{required}: required by {name}, but {found} is installed"
        if requirement.extras:
            yield from unmet_requirements(requirement.name, frozenset(requirement.extras), installed)


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def read_constraints(text: str) -> dict[str, str]:
    """Parse a pip constraints file into versions by package."""
    lines = (line.partition("#")[0].strip().partition("==") for line in text.splitlines())
    return {canonicalize_name(name): pinned for name, _, pinned in lines if pinned}


def check_tested_versions(tested: Mapping[str, str], installed: InstalledVersion = version) -> CheckResult:
    """Check that the direct requirements have the versions that this package was tested with."""
    requirements = map(Requirement, requires(NAME) or ())
    names = {canonicalize_name(item.name) for item in requirements if _applies(item, frozenset())} & tested.keys()
    differences: list[str] = []
    for name in sorted(names):
        try:
            found = installed(name).partition("+")[0]  # without torch's mark of the build, as +cu130
        except PackageNotFoundError:
            continue
        if found != tested[name]:
            differences.append(f"{name} {found}, tested with {tested[name]}")
    if differences:
        return warning("tested versions", "; ".join(differences), f"pip install --constraint {TESTED_VERSIONS} {NAME}")
    return ok("tested versions", f"{len(names)} packages as in constraints.txt")
