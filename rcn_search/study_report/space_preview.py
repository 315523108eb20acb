"""What a space holds, before a night is spent in it: many settings drawn, their networks built and counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rich.console import Console
from rich.table import Table

from rcn_search.config.loading import ConfigError
from rcn_search.config.schema import ModelConfig
from rcn_search.study.space.parameter import Parameter, Scalar, parameter_name
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.space.unit_interval import from_unit

PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
_BINS, _BAR = 10, 40
_LOG_RATIO = 20
"""A histogram of values further apart than this is one of their logarithm."""


@dataclass(frozen=True, kw_only=True)
class SpacePreview:
    """What was drawn.

    Attributes:
        num_points: Keypoints that the networks were built for.
        num_parameters: Trainable values of each drawn network.
        multiply_adds: Of one face's way through each.
        num_networks: Different ones among them.
        num_drawn: How often each parameter was drawn, by its name; and each value of a list, as ``(name, value)``.
    """

    num_points: int
    num_parameters: list[int]
    multiply_adds: list[int]
    num_networks: int
    num_drawn: Counter[str | tuple[str, Scalar]]


def preview_space(
    space: StudyConfig,
    *,
    num_points: int,
    num_settings: int = 1_000,
    seed: int = 0,
    on_setting: Callable[[int, int], None] = lambda done, total: None,
) -> SpacePreview:
    """Draw settings at random, each range evenly, and build the network of each.

    Args:
        space: Of a search, as `load_space` has checked it.
        num_points: Keypoints of the data set.
        num_settings: How many to draw.
        seed: Other seeds, other settings.
        on_setting: Called with (done, total).

    Raises:
        ConfigError: A setting is no legal configuration; it is named.
    """
    draw = random.Random(seed)
    drawn: Counter[str | tuple[str, Scalar]] = Counter()

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        value = from_unit(parameter.distribution, draw.random())
        drawn.update([name] if parameter.choice is None else [name, (name, value)])
        return value

    costs: list[tuple[int, int]] = []
    networks: set[ModelConfig] = set()
    for done in range(num_settings):
        values = space.draw(choose)
        try:
            config = space.train_config(values)
            costs.append(_cost(config.model, num_points, config.input.size_px, config.input.channels))
        except ValueError as error:
            setting = ", ".join(f"{path}={value}" for path, value in values.items())
            raise ConfigError(f"setting {done + 1} of {num_settings} is not legal: {error}\nDrawn: {setting}") from None
        networks.add(config.model)
        on_setting(done + 1, num_settings)
    num_parameters, multiply_adds = zip(*costs, strict=True)
    return SpacePreview(
        num_points=num_points,
        num_parameters=list(num_parameters),
        multiply_adds=list(multiply_adds),
        num_networks=len(networks),
        num_drawn=drawn,
    )


@lru_cache(maxsize=4_096)
def _cost(model: ModelConfig, num_points: int, input_px: int, in_channels: int) -> tuple[int, int]:
    """Trainable values and multiply-adds; counting a network takes a pass through it, so each is counted once."""
    from rcn_search.models import build_model
    from rcn_search.models.complexity import count_parameters, multiply_adds

    network = build_model(model, num_points=num_points, input_px=input_px, in_channels=in_channels)
    return count_parameters(network), multiply_adds(network, input_px)


def print_preview(console: Console, space: StudyConfig, report: SpacePreview) -> None:
    """Percentiles and histograms of the cost, and how often each branch of the space is taken."""
    num_settings = len(report.num_parameters)
    console.print(
        f"[bold]{space.study.name}[/]: {num_settings:,} settings of {len(space.parameter_names)} parameters, all legal; "
        f"{report.num_networks:,} different networks for {report.num_points} points",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("percentile", *(f"{percentile}" for percentile in PERCENTILES), box=None, pad_edge=False)
    for title, values in (("parameters", report.num_parameters), ("multiply-adds", report.multiply_adds)):
        cells = (format_count(float(value)) for value in np.percentile(values, PERCENTILES))
        table.add_row(title, *cells)
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table, highlight=False)
    limit = space.constraints.parameters
    if limit is not None:
        within = sum(value <= limit for value in report.num_parameters) / num_settings
        console.print(f"within constraints.parameters = {limit:,}: {within:.0%}", highlight=False)
    for title, values in (("parameters", report.num_parameters), ("multiply-adds", report.multiply_adds)):
        console.print(f"\n{title}", style="bold")
        console.print("\n".join(histogram(values)), highlight=False, markup=False)
    console.print()
    console.print(_branches(space, report, num_settings), highlight=False)


def histogram(values: list[int]) -> list[str]:
    """One line for each of ten equal steps from the lowest value to the highest: ``200 k – 300 k ▇▇▇▇ 12.0 %``."""
    low, high = min(values), max(values)
    if low == high:
        return [f"{format_count(low)} always"]
    edges = np.geomspace(low, high, _BINS + 1) if high > _LOG_RATIO * low else np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high  # a geometric step may miss them by a rounding
    counts, _ = np.histogram(values, bins=edges)
    labels = [f"{format_count(edges[index])} – {format_count(edges[index + 1])}" for index in range(_BINS)]
    width = max(map(len, labels))
    return [
        f"{label:>{width}} {'▇' * round(_BAR * count / max(counts))} {count / len(values):.1%}"
        for label, count in zip(labels, counts, strict=True)
    ]


def format_count(value: float) -> str:
    """Three digits: ``310 k``, ``93.3 M``, ``1.33 G``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}"


def _branches(space: StudyConfig, report: SpacePreview, num_settings: int) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("drawn", "of settings", "when", "values"):
        table.add_column(title, overflow="fold", justify="right" if title == "of settings" else "left")
    for path, alternatives in space.search.items():
        for index, parameter in enumerate(alternatives):
            name = parameter_name(path, index, len(alternatives))
            count = report.num_drawn[name]
            when = ", ".join(f"{key} {'|'.join(map(str, allowed))}" for key, allowed in parameter.when.items())
            style = "" if count else "yellow"
            table.add_row(name, f"{count / num_settings:.1%}", when, _values(name, parameter, report), style=style)
    return table


def _values(name: str, parameter: Parameter, report: SpacePreview) -> str:
    if parameter.choice is None:
        return str(parameter)
    count = max(1, report.num_drawn[name])
    return ", ".join(f"{value} {report.num_drawn[name, value] / count:.0%}" for value in parameter.choice)
