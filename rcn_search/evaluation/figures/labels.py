"""Short names for runs that set them apart from each other, for legends. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rcn_search.config.loading import RECIPES
from rcn_search.config.schema import TrainConfig

_MODELS = {"rcn": "RCN", "sumnet": "SumNet", "tcdcn": "TCDCN"}  # the other models are shown by their names
# Options that do not change the weights: where a run ran, and how often it was validated and saved.
_NOT_COMPARED: Any = {"compute": True, "data": {"uri"}, "validation": {"every_epochs", "save"}}


def config_labels(configs: Sequence[TrainConfig], uris: Sequence[str], *, section: str = "") -> list[str]:
    """Name each run by its model and by the options in which the runs differ, written as for ``--set``.

    Options that are not set are left out and, if the recipes differ, those that a recipe sets. Runs of one
    configuration are distinguished by their URIs. With a ``section``, only its options are compared.
    """
    options_of = [dict(_leaves(config.model_dump(mode="json", exclude=_NOT_COMPARED))) for config in configs]
    keys = dict.fromkeys(key for options in options_of for key in options if key.startswith(section))
    keys.pop("model.name", None)
    differing = [key for key in keys if len({str(options[key]) for options in options_of if key in options}) > 1]
    names = []
    for config, options in zip(configs, options_of, strict=True):
        implied = _recipe_leaves(config) if "recipe" in differing else {}
        shown = [key for key in differing if options.get(key) not in (None, implied.get(key))]
        name = _MODELS.get(config.model.name, config.model.name)
        names.append(" ".join([name, *(f"{key}={_format(options[key])}" for key in shown)]))
    return make_distinct(names, uris)


def _format(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _leaves(document: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _recipe_leaves(config: TrainConfig) -> dict[str, Any]:
    """Return the options of a run of this recipe that sets nothing else, without the name of the recipe."""
    required = {"name", "target"} if config.model.name == "custom" else {"name"}
    document = {"data": {"uri": config.data.uri}, "model": config.model.model_dump(include=required)}
    bare = TrainConfig.model_validate({**RECIPES[config.recipe], **document}).model_dump(mode="json")
    return {key: value for key, value in _leaves(bare) if key != "recipe"}


def make_distinct(names: Sequence[str], uris: Sequence[str]) -> list[str]:
    """Add to equal names the parts of their URIs that differ.

    >>> make_distinct(["RCN", "RCN", "TCDCN"], ["runs/a/x", "runs/b/x", "runs/c/x"])
    ['RCN (a)', 'RCN (b)', 'TCDCN']
    """
    labels = list(names)
    for name, count in Counter(names).items():
        if count > 1:
            indices = [index for index, other in enumerate(names) if other == name]
            parts = _without_common([uris[index].split("/") for index in indices])
            for index, differing in zip(indices, parts, strict=True):
                labels[index] = f"{name} ({'/'.join(differing)})"
    return labels


def _without_common(paths: list[list[str]]) -> list[list[str]]:
    """Remove the folders that all paths begin with and end with; at least one part of each path is left."""
    for end in (0, -1):
        while min(map(len, paths)) > 1 and len({path[end] for path in paths}) == 1:
            paths = [path[1:] if end == 0 else path[:-1] for path in paths]
    return paths
