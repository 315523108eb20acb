"""Preview of a search space before a night is spent in it: settings are drawn, their networks built and counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rcn_search.config.errors import ConfigError
from rcn_search.config.schema import ModelConfig
from rcn_search.study.space.parameter import Parameter, Scalar, parameter_name
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.space.unit_interval import from_unit

PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
_BINS, _BAR = 10, 40
_LOG_RATIO = 20
"""Ratio of highest to lowest value above which a histogram has logarithmic bins."""


@dataclass(frozen=True, kw_only=True)
class SpacePreview:
    """Costs of the drawn settings.

    Attributes:
        num_points: Number of keypoints that the networks were built for.
        num_parameters: Number of trainable values of each drawn network.
        multiply_adds: Number of multiply-adds of each network's forward pass of one face.
        num_networks: Number of different networks.
        num_drawn: Number of settings with each parameter, by its name, and with each choice, by ``(name, value)``.
    """

    num_points: int
    num_parameters: list[int]
    multiply_adds: list[int]
    num_networks: int
    num_drawn: Counter[str | tuple[str, Scalar]]


def preview_space(
    config: StudyConfig,
    *,
    num_points: int,
    num_settings: int = 1_000,
    seed: int = 0,
    on_setting: Callable[[int, int], None] = lambda done, total: None,
) -> SpacePreview:
    """Draw settings at random, uniformly in each range, and build the network of each.

    ``on_setting`` is called with the number of settings done and of settings in all.

    Raises:
        ConfigError: A setting is not a legal configuration; the message shows it.
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
        values = config.draw(choose)
        try:
            train_config = config.train_config(values)
            costs.append(_cost(train_config.model, num_points, train_config.input.size_px, train_config.input.channels))
        except ValueError as error:
            setting = ", ".join(f"{path}={value}" for path, value in values.items())
            message = f"setting {done + 1} of {num_settings} is not legal: {error}\nSetting: {setting}"
            raise ConfigError(message) from None
        networks.add(train_config.model)
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
    """Count trainable values and multiply-adds, once for each network, because counting takes a forward pass."""
    from rcn_search.models import build_model
    from rcn_search.models.complexity import count_parameters, multiply_adds

    network = build_model(model, num_points=num_points, input_px=input_px, in_channels=in_channels)
    return count_parameters(network), multiply_adds(network, input_px)


def print_preview(console: Console, config: StudyConfig, report: SpacePreview) -> None:
    """Print percentiles and histograms of the costs, and how often each parameter is drawn."""
    num_settings = len(report.num_parameters)
    counts = f": {num_settings:,} settings of {len(config.parameter_names)} parameters, all legal; "
    counts += f"{report.num_networks:,} different networks for {report.num_points} points"
    console.print(Text.assemble((config.study.name, "bold"), counts))
    table = Table("percentile", *(f"{percentile}" for percentile in PERCENTILES), box=None, pad_edge=False)
    costs = {"parameters": report.num_parameters, "multiply-adds": report.multiply_adds}
    for title, values in costs.items():
        table.add_row(title, *(format_count(float(value)) for value in np.percentile(values, PERCENTILES)))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table, highlight=False)
    if (limit := config.constraints.parameters) is not None:
        within = sum(value <= limit for value in report.num_parameters) / num_settings
        console.print(f"within constraints.parameters = {limit:,}: {within:.0%}", highlight=False)
    for title, values in costs.items():
        console.print(f"\n{title}", style="bold")
        console.print("\n".join(histogram(values)), highlight=False, markup=False)
    console.print()
    console.print(_branches(config, report, num_settings), highlight=False)


def histogram(values: list[int]) -> list[str]:
    """Draw a line for each of ten bins from the lowest to the highest value: ``200 k – 300 k ▇▇▇▇ 12.0 %``."""
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
    """Format a count with three digits: ``310 k``, ``93.3 M``, ``1.33 G``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}"


def _branches(config: StudyConfig, report: SpacePreview, num_settings: int) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("parameter", "drawn", "when", "values"):
        table.add_column(title, overflow="fold", justify="right" if title == "drawn" else "left")
    for path, alternatives in config.search.items():
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
