"""Each floor imports only the floors below it; Ray is for those where searches run and where clusters are examined."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rcn_search

PACKAGE = Path(rcn_search.__file__).parent
FLOORS = (
    (
        "__init__",
        "errors",
        "keypoint_schemas",
        "keypoints",
        "local_server",
        "machine",
        "pages",
        "printable",
        "resources",
        "storage",
        "yaml_document",
    ),
    ("config",),
    ("models", "data"),
    ("training", "testing"),
    ("inference",),
    ("evaluation",),
    ("study", "cluster"),
    ("leaderboard", "study_report", "simulation", "doctor"),
    ("search",),
    ("reproduce",),
    ("__main__", "cli", "tune"),
)
USES_RAY = {"cluster", "search", "doctor"}
USES_OPTUNA = {part for floor in FLOORS[FLOORS.index(("study", "cluster")) :] for part in floor}
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: Path) -> str:
    """``models`` for models/rcn.py, ``config`` for config.py."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(module: Path) -> Iterator[tuple[str, ...]]:
    """Dotted names a module imports, also within functions and for types."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            assert node.module is not None
            # `from rcn_search import storage` names the part last, `from rcn_search.data.crops import x` second.
            yield from ((*node.module.split("."), alias.name) for alias in node.names)


def test_every_module_has_a_floor() -> None:
    assert {part_of(module) for module in MODULES} == FLOOR_OF.keys()


# The public interface names modules of all floors, but imports them lazily (tests/test_public_api.py).
BELOW_PUBLIC = [module for module in MODULES if module != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("module", BELOW_PUBLIC, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_go_down(module: Path) -> None:
    part = part_of(module)
    own = FLOORS[FLOOR_OF[part]] if FLOOR_OF[part] in (0, len(FLOORS) - 1) else (part,)
    for package, *names in imported(module):
        if package == "rcn_search":
            below = names[0] if names and names[0] in FLOOR_OF else "__init__"
            assert FLOOR_OF[below] < FLOOR_OF[part] or below in own, f"{part} imports {below}"
        assert package != "ray" or part in USES_RAY, f"{part} imports Ray"
        assert package != "optuna" or part in USES_OPTUNA, f"{part} imports Optuna"
