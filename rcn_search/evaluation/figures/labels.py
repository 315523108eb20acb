"""Names for the lines of a figure: as short as they can be and still tell one from another. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rcn_search.config.loading import RECIPES
from rcn_search.config.schema import TrainConfig

_KINDS = {"rcn": "RCN", "sumnet": "SumNet", "tcdcn": "TCDCN", "denoiser": "denoiser"}


def config_labels(configs: Sequence[TrainConfig], places: Sequence[str], *, section: str = "") -> list[str]:
    """For each run the kind of its model and the options in which the runs differ, as ``--set`` takes them.

    What is not set goes without saying, and so does, where two recipes are compared, what a recipe brings with it. Runs
    of one configuration are told apart by their places.

    Args:
        configs: Of the runs.
        places: Folders or URIs of the runs.
        section: Only options of this section; by default of all.
    """
    leaves = [dict(_leaves(config.model_dump(mode="json", exclude=_NOT_COMPARED))) for config in configs]
    values: dict[str, set[str]] = {}
    for own in leaves:
        for key, value in own.items():
            values.setdefault(key, set()).add(str(value))
    differing = [
        key for key, seen in values.items() if len(seen) > 1 and key != "model.name" and key.startswith(section)
    ]
    names = []
    for config, own in zip(configs, leaves, strict=True):
        implied = _recipe_leaves(config) if "recipe" in differing else {}
        told = [f"{key}={_written(own[key])}" for key in differing if own.get(key) not in (None, implied.get(key))]
        names.append(" ".join([_KINDS[config.model.name], *told]))
    return make_distinct(names, places)


# What changes no weight: where a run ran, and how often it was looked at.
_NOT_COMPARED: Any = {"compute": True, "data": {"uri"}, "validation": {"every_epochs", "save"}}


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _leaves(document: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _recipe_leaves(config: TrainConfig) -> dict[str, Any]:
    """What a run of this recipe has if nothing else is said; the name of the recipe itself is not among it."""
    document = {"data": {"uri": config.data.uri}, "model": {"name": config.model.name}}
    bare = TrainConfig.model_validate({**RECIPES[config.recipe], **document}).model_dump(mode="json")
    return {key: value for key, value in _leaves(bare) if key != "recipe"}


def make_distinct(names: Sequence[str], places: Sequence[str]) -> list[str]:
    """The names, those that stand twice followed by the part of their place that they do not have in common."""
    told = list(names)
    for name, times in Counter(names).items():
        if times > 1:
            twins = [index for index, other in enumerate(names) if other == name]
            parts = _without_common([places[index].split("/") for index in twins])
            for index, own in zip(twins, parts, strict=True):
                told[index] = f"{name} ({'/'.join(own)})"
    return told


def _without_common(paths: list[list[str]]) -> list[list[str]]:
    """Paths without the folders that all begin with and all end with; of each at least one part is left."""
    for end in (0, -1):
        while min(map(len, paths)) > 1 and len({path[end] for path in paths}) == 1:
            paths = [path[1:] if end == 0 else path[:-1] for path in paths]
    return paths
