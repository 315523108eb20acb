"""Which tests a module's mutants are run against: the file of its name, and those that import it.

Used by `mutation_sample.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

LEFT_OUT = ("docs", "kills", "packaging", "s3", "fuzz")
"""Folders of tests of something else, or too slow."""


def by_module(root: Path, *, most: int, whole_area: bool = False) -> Callable[[str], list[str]]:
    """A function from a module's path to its tests: its own file, at most so many importers, and the whole area."""
    modules = {_dotted(path.relative_to(root)): path for path in (root / "rcn_search").rglob("*.py")}
    tests = [
        path
        for path in sorted((root / "tests").rglob("test_*.py"))
        if path.relative_to(root).parts[1] not in LEFT_OUT and "browser" not in path.name
    ]
    imported_by_test = {path: _imports(path, modules) for path in tests}
    imported_by_module = {name: _imports(path, modules) for name, path in modules.items()}

    def choose(path: str) -> list[str]:
        name = _dotted(Path(path))
        own = [test for test in tests if _is_of(test.relative_to(root), Path(path))]
        near, seen = {name}, {name}
        while near:
            found = [
                test
                for test in tests
                if imported_by_test[test] & near and test not in own and _is_quick(test.relative_to(root), path)
            ]
            if own or found:
                found = sorted(found, key=lambda test: (not _is_close(test, path), test.stat().st_size))
                area = [test for test in tests if whole_area and _is_close(test, path)]
                chosen = dict.fromkeys([*own, *found[:most], *area])
                return [str(test.relative_to(root)) for test in chosen]
            near = {other for other, names in imported_by_module.items() if names & near} - seen
            seen |= near
        return [str(test.relative_to(root)) for test in tests if _is_close(test, path)][:most]

    return choose


def _is_of(test: Path, module: Path) -> bool:
    """Whether ``tests/AREA/test_NAME.py`` is named after ``rcn_search/AREA/…/NAME.py`` or its package."""
    name = module.parent.name if module.stem == "__init__" else module.stem
    same_area = len(module.parts) < 3 or module.parts[1] in test.parts
    return same_area and test.stem.removeprefix("test_") in (name, f"{module.parent.name}_{name}")


def _is_quick(test: Path, module: str) -> bool:
    """Whether a test starts no cluster of Ray, or is of a module that does."""
    return "cluster" not in test.parts or "/cluster/" in module


def _is_close(test: Path, module: str) -> bool:
    return Path(module).parts[1] in test.parts


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """All modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & modules.keys() - {"rcn_search"}
