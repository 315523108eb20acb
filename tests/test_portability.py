"""Nothing that macOS or Windows lacks is used without a guard."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import rcn_search
from rcn_search.machine import num_cpus

PACKAGE = Path(rcn_search.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(module.relative_to(PACKAGE)) for module in MODULES]
UNIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios"}
# Names that not every system has, and what a module that uses one must contain.
GUARDS = {
    "sched_getaffinity": 'hasattr(os, "sched_getaffinity")',
    "getuid": 'hasattr(os, "getuid")',
    "posix_fallocate": 'hasattr(os, "posix_fallocate")',
    "mallopt": 'sys.platform != "linux"',
    "O_RDONLY": ('os.name == "nt"', "os.supports_dir_fd"),  # Windows opens no folders
    "/proc/self/statm": "suppress(ImportError, OSError, ValueError)",
    "/proc/cpuinfo": ".exists()",
    "/proc/driver/nvidia/version": ".is_file()",
    "/proc/self/cgroup": "except OSError",
    "/sys/fs/cgroup": "except OSError",
    "/dev/shm": ".is_dir()",
}
FORBIDDEN = {"fork", "forkpty", "getloadavg", "getpgid", "geteuid", "killpg", "setsid", "uname", "SIGKILL"}
PREFIXES = ("/proc/", "/sys/", "/dev/")


def names_used(tree: ast.Module) -> Iterator[str]:
    """Attributes, and strings that are paths of Linux."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PREFIXES):
            yield node.value


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_module_guards_what_not_every_system_has(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for name in names_used(tree):
        assert name not in FORBIDDEN, f"{name} does not exist everywhere"
        assert not name.startswith(PREFIXES) or name in GUARDS, f"{name}: add its guard to this test"
        guards = GUARDS.get(name, "")
        assert any(guard in text for guard in ([guards] if isinstance(guards, str) else guards)), f"{name}: {guards}"
    for node in tree.body:  # at the top; within functions an ImportError can be handled
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not UNIX_MODULES & set(names), f"{names} cannot be imported everywhere"


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_module_names_the_encoding_of_text_files(module: Path) -> None:
    """Windows would take that of its language."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_text = node.func.attr in ("read_text", "write_text")
            assert not is_text or any(keyword.arg == "encoding" for keyword in node.keywords), ast.unparse(node)


def test_num_cpus_without_affinity_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert num_cpus() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cpus() == 1
