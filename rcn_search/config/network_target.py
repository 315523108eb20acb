"""Networks that users bring: the class that ``model.target`` names, imported only where its code is allowed.

A configuration may come from a stranger, inside a checkpoint, a study or a leaderboard entry. To read one runs nothing:
a class is imported only if its name begins with a prefix that this process was given by its user, in a configuration to
train, in a study to run, or by ``--allow-target``.
"""

from __future__ import annotations

import importlib
import os
import traceback
from types import ModuleType
from typing import Any

from rcn_search.config.model import CustomConfig, ModelConfig
from rcn_search.errors import RcnSearchError

ALLOW_VARIABLE = "RCN_SEARCH_ALLOW_TARGETS"
"""Environment variable with the allowed prefixes, separated by commas; processes that this one starts inherit it."""


class TargetError(RcnSearchError):
    """The class of a network cannot be imported or used; the message says why."""


def allow_target(prefix: str) -> None:
    """Allow this process to import networks whose ``model.target`` is ``prefix``, or lies within it.

    The prefix ``lab.nets`` allows ``lab.nets:Tiny`` and ``lab.nets.small:Tiny``, but not ``lab.netsonly:Tiny``.
    """
    if prefix not in (prefixes := _allowed()):
        os.environ[ALLOW_VARIABLE] = ",".join([*prefixes, prefix])


def allow_network(model: ModelConfig) -> None:
    """Allow the code of a configuration that the user of this process asked to train or to search."""
    if isinstance(model, CustomConfig):
        allow_target(model.target)


def is_allowed(target: str) -> bool:
    """Whether this process may import a target."""
    return any(target == prefix or target.startswith((f"{prefix}.", f"{prefix}:")) for prefix in _allowed())


def _allowed() -> list[str]:
    return [prefix for prefix in os.environ.get(ALLOW_VARIABLE, "").split(",") if prefix]


def import_target(target: str, *, key: str = "model.target") -> Any:
    """Import what ``package.module:Class`` names, as the value of a configuration's ``key``.

    Raises:
        TargetError: It is not allowed here, the module cannot be imported, or has no such class.
    """
    if not is_allowed(target):
        raise TargetError(
            f"{key} names the code {target}, which is not imported unless you allow it: if you trust it, give "
            f"--allow-target {target.partition(':')[0]}"
        )
    module_name, _, path = target.partition(":")
    found: Any = _import_module(module_name, target, key)
    for name in path.split("."):
        if not hasattr(found, name):
            raise TargetError(f"{key} = {target}: {_name(found)} has no {name!r}")
        found = getattr(found, name)
    return found


def _import_module(name: str, target: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(
                f"{key} = {target}: there is no module {error.name!r} here: install it, or name its folder in "
                "PYTHONPATH; for a Ray job put it into the working directory that ray job submit sends"
            ) from None
        raise TargetError(f"{key} = {target}: {name} needs {error.name!r}, which is not installed here") from None
    except Exception as error:
        raise TargetError(f"{key} = {target}: importing {name} raised {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Describe an exception of somebody else's code in one line: type, message, file and line."""
    text = " ".join(str(error).split())[:500]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _name(found: Any) -> str:
    return str(getattr(found, "__name__", type(found).__name__))
