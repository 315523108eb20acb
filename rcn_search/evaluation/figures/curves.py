"""Plots of the error by epoch of a run, and of the cumulative error distribution of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures import style
from rcn_search.evaluation.metrics import cumulative_errors


def plot_error_curve(history: Sequence[Mapping[str, float]], uri: str) -> None:
    """Plot ``val_error_pct`` by ``epoch`` of validated epochs, and the training ``loss`` if it is known.

    Raises:
        RcnSearchError: The history is empty.
    """
    if not history:
        raise RcnSearchError("no epoch to plot: the history is empty")
    epochs = [row["epoch"] for row in history]
    errors = [row["val_error_pct"] for row in history]
    figure, (axes,) = style.panels(1)
    style.label_axes(axes, "epoch", "validation error, %")
    axes.plot(epochs, errors, color=style.PALETTE[0], marker="o", markersize=4, linewidth=1.8)
    best = int(np.nanargmin(errors))
    axes.plot(epochs[best], errors[best], "o", markersize=9, markerfacecolor="none", color=style.PALETTE[0])
    plate = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    text: dict[str, Any] = {"ha": "center", "va": "top", "color": style.PALETTE[0], "fontweight": "bold", "bbox": plate}
    point = (epochs[best], errors[best])
    axes.annotate(f"{errors[best]:.2f} %", point, xytext=(0, -14), textcoords="offset points", **text)
    axes.margins(y=0.18)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if all("loss" in row for row in history):
        twin = axes.twinx()
        twin.plot(epochs, [row["loss"] for row in history], color=style.PALETTE[1], linewidth=1.2, linestyle="--")
        twin.set_ylabel("training loss (dashed)", color=style.PALETTE[1])
        twin.tick_params(colors=style.PALETTE[1], length=0)
        twin.spines[:].set_visible(False)
        axes.set_zorder(twin.get_zorder() + 1)  # the error is drawn over the loss
        axes.patch.set_visible(False)
    style.save_figure(figure, uri)


def plot_ced(
    error_pct_by_method: Mapping[str, NDArray[np.float64]],
    uri: str,
    *,
    threshold_pct: float = 20.0,
    title: str = "",
    measure: str = "",
) -> None:
    """Plot cumulative error distributions: the share of the included images with an error of at most x.

    ``threshold_pct`` is the end of the horizontal axis; ``title`` names the images, and ``measure`` the kind of error.

    Raises:
        RcnSearchError: A method has no errors, or one that is not finite.
    """
    figure, (axes,) = style.panels(1, height=4.2 + 0.18 * len(error_pct_by_method))
    style.label_axes(axes, "error of an image, %", "share of images, %")
    for index, (method, error_pct_n) in enumerate(error_pct_by_method.items()):
        if not len(error_pct_n) or not np.isfinite(error_pct_n).all():
            raise RcnSearchError(f"{method}: no errors to plot, or some that are not finite; leave out excluded images")
        label = style.wrap_text(f"{error_pct_n.mean():.2f} %   {method}")
        line = style.line_style(index) | {"marker": "", "where": "post"}
        axes.step(*cumulative_errors(error_pct_n, threshold_pct), label=label, **line)
    axes.set_xlim(0, threshold_pct)
    axes.set_ylim(0, 101)
    style.add_legend_below(figure, axes, "mean error and method")
    if title:
        style.set_title(figure, title, measure)
    style.save_figure(figure, uri)
