"""Style that all figures share: palette, axes, legend, and saving as PNG, SVG or PDF.

Figures are made without pyplot, so nothing here touches global state or needs a display.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rcn_search import storage
from rcn_search.errors import RcnSearchError

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, distinct for all kinds of color vision."""
FORMATS = ("png", "svg", "pdf")
INK, FAINT = "#222222", "#DDDDDD"
LABEL_WIDTH = 78
"""Largest number of characters in a line of a legend or a title."""
_TITLE_CHARACTERS_PER_INCH = 13.5
_DASHES = ("-", "--", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def panels(count: int, *, width: float = 6.4, height: float = 4.0) -> tuple[Figure, list[Axes]]:
    """Make a figure with ``count`` axes side by side, of the given size in inches at 150 pixels per inch."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    all_axes = figure.subplots(1, count, squeeze=False)[0].tolist()
    for axes in all_axes:
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, which="both", length=0)
    return figure, all_axes


def label_axes(axes: Axes, x_label: str, y_label: str) -> None:
    """Set the labels of both axes, with units."""
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)


def line_style(index: int) -> dict[str, Any]:
    """Return color, dashes and marker of the line of that index; the first twenty-one are all different."""
    cycle = index // len(PALETTE)
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": _DASHES[cycle % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4,
        "linewidth": 1.8,
    }


def wrap_text(text: str, width: int = LABEL_WIDTH) -> str:
    """Break text into lines, and escape dollar signs, which would start a formula."""
    return "\n".join(textwrap.wrap(text, width)).replace("$", r"\$")


def use_log_scale_if_wide(axes: Axes, axis_name: Literal["x", "y"], values: Sequence[float], factor: float) -> bool:
    """Make an axis logarithmic if the largest value is more than ``factor`` times the smallest; return whether it is.

    Ticks are plain numbers, as in 20 and 5,000, not powers of ten. An axis with a zero stays linear.
    """
    low, high = min(values), max(values)
    if not low > 0 or high <= factor * low:
        return False
    (axes.set_xscale if axis_name == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if axis_name == "x" else axes.yaxis
    many = high > 20 * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if many else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), numticks=15))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
    return True


def add_legend_below(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put the legend under the figure, one line for each curve of ``axes``, where long names fit."""
    sizes: dict[str, Any] = {"fontsize": "small", "title_fontsize": "small"}
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", frameon=False, title=title, **sizes)


def set_title(figure: Figure, title: str, detail: str = "") -> None:
    """Set the title of a figure: what it shows, and below it how that was measured."""
    width = min(90, int(_TITLE_CHARACTERS_PER_INCH * figure.get_figwidth()))
    lines = [wrap_text(title, width), *([wrap_text(detail, width)] if detail else [])]
    figure.suptitle("\n".join(lines), color=INK, fontsize=9.5)


def save_figure(figure: Figure, uri: str) -> None:
    """Write a figure, whole or not at all, in the format that the end of the URI names."""
    stream, format = io.BytesIO(), check_format(uri)
    # Text as text, not as outlines, so that it can be searched; and the PDF font type that journals accept.
    with matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(stream, format=format)
    storage.write_bytes(uri, stream.getvalue())


def check_format(uri: str) -> str:
    """Return the format of a picture; commands check it before they compute anything for the picture.

    Raises:
        RcnSearchError: The URI ends in none of `FORMATS`.
    """
    format = uri.rpartition(".")[2].lower()
    if format not in FORMATS:
        raise RcnSearchError(f"{uri} must end in one of .{', .'.join(FORMATS)}")
    return format
