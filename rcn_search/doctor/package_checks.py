"""Whether what is installed is what the package asks for, extras of its dependencies and all."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rcn_search
from rcn_search.doctor.check_result import Finding, ok, problem, warning

NAME = "rcn-search"
TESTED = Path(rcn_search.__file__).parents[1] / "constraints.txt"
"""Of the source tree; an installed package has none."""

Version = Callable[[str], str]


def examine_packages() -> list[Finding]:
    """All that is to be said of the packages of this Python."""
    tested = read_constraints(TESTED.read_text()) if TESTED.is_file() else {}
    return [check_requirements(), check_tested(tested)] if tested else [check_requirements()]


def check_requirements(installed: Version = version) -> Finding:
    """Whether all is there that the package needs, in versions that it can use."""
    missing = sorted(set(unmet(NAME, frozenset(), installed)))
    if missing:
        return problem(
            "packages",
            "; ".join(missing),
            f"pip install {' '.join(repr(each.partition(',')[0]) for each in missing)}",
        )
    ray, torch = installed("ray"), installed("torch")
    return ok("packages", f"Python {platform.python_version()}, Ray {ray}, torch {torch}, {NAME} {installed(NAME)}")


def unmet(name: str, extras: frozenset[str], installed: Version) -> Iterator[str]:
    """Requirements of a distribution that are not met; also those of the extras that it asks others for."""
    for line in requires(name) or ():
        requirement = Requirement(line)
        if not _applies(requirement, extras):
            continue
        try:
            there = installed(requirement.name)
        except PackageNotFoundError:
            yield f"{requirement.name}{requirement.specifier}, which {name} needs, is not installed"
            continue
        if not requirement.specifier.contains(there, prereleases=True):
            yield f"{requirement.name}{requirement.specifier}, which {name} needs: {there} is installed"
        if requirement.extras:
            yield from unmet(requirement.name, frozenset(requirement.extras), installed)


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def read_constraints(text: str) -> dict[str, str]:
    """Versions by package of a file of constraints."""
    lines = (line.partition("#")[0].strip().partition("==") for line in text.splitlines())
    return {canonicalize_name(name): pinned for name, _, pinned in lines if pinned}


def check_tested(tested: Mapping[str, str], installed: Version = version) -> Finding:
    """Whether the packages that the package names are of the versions that it was tested with."""
    names = {
        canonicalize_name(each.name) for each in map(Requirement, requires(NAME) or ()) if _applies(each, frozenset())
    }
    other: list[str] = []
    for name in sorted(names & tested.keys()):
        try:
            there = installed(name).partition("+")[0]  # torch's builds are marked so
        except PackageNotFoundError:
            continue
        if there != tested[name]:
            other.append(f"{name} {there}, tested with {tested[name]}")
    if other:
        return warning("tested versions", "; ".join(other), f"pip install --constraint {TESTED} {NAME}")
    return ok("tested versions", f"{len(names & tested.keys())} packages as in constraints.txt")
