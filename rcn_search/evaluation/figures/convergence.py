"""Convergence of training runs: validation error against epochs and training time, from their histories. No torch.

Array names end in their axis: e validated epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rcn_search import storage
from rcn_search.config.legacy import upgrade_config
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures import style
from rcn_search.evaluation.figures.labels import config_labels
from rcn_search.evaluation.metrics import Array
from rcn_search.training.exit_status import CONFIG_NAME, HISTORY_NAME
from rcn_search.training.history import read_history


@dataclass(frozen=True, kw_only=True)
class ConvergenceCurve:
    """Validation errors of a run.

    Attributes:
        epoch_e: Validated epochs, from 1.
        train_s_e: Training time from the start of the run to the end of the epoch, without validation.
    """

    label: str
    epoch_e: NDArray[np.int64]
    train_s_e: Array
    error_pct_e: Array

    def first_below(self, error_pct: float) -> tuple[int, float] | None:
        """Return epochs and seconds to the first validation error below ``error_pct``; None if there is none."""
        (below,) = np.nonzero(self.error_pct_e < error_pct)
        return (int(self.epoch_e[below[0]]), float(self.train_s_e[below[0]])) if len(below) else None


def read_convergence_curves(uris: Sequence[str]) -> list[ConvergenceCurve]:
    """Read the histories of runs from the folders that a training wrote.

    Raises:
        RcnSearchError: A folder holds no run, is named twice, or has no validated epoch yet.
    """
    if len({uri.rstrip("/") for uri in uris}) < len(uris):
        raise RcnSearchError("a run is named twice; name each of them once")
    configs = [_read_config(uri) for uri in uris]
    labels = config_labels(configs, [uri.rstrip("/") for uri in uris])
    return [_read_history(uri, label) for uri, label in zip(uris, labels, strict=True)]


def _read_config(uri: str) -> TrainConfig:
    config_uri = storage.join(uri, CONFIG_NAME)
    try:
        document = storage.read_json(config_uri)
    except (FileNotFoundError, NotADirectoryError):
        raise RcnSearchError(
            f"no run at {uri}: {CONFIG_NAME} is missing; name the folder that a training wrote"
        ) from None
    try:
        return TrainConfig.model_validate(upgrade_config(document["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RcnSearchError(f"{config_uri} is not a configuration that this rcn-search can read: {error}") from error


def _read_history(uri: str, label: str) -> ConvergenceCurve:
    history_uri = storage.join(uri, HISTORY_NAME)
    try:
        documents = [document for _, document in read_history(uri)]
    except FileNotFoundError:
        documents = []
    try:
        history = [row for document in documents for row in document]
        train_s = np.cumsum([row["train_s"] for row in history])
        validated = [index for index, row in enumerate(history) if row["val_error_pct"] is not None]
        curve = ConvergenceCurve(
            label=label,
            epoch_e=np.array([history[index]["epoch"] for index in validated], dtype=np.int64),
            train_s_e=train_s[validated],
            error_pct_e=np.array([history[index]["val_error_pct"] for index in validated], dtype=np.float64),
        )
        _check_curve(curve)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RcnSearchError(f"{history_uri} is not the history of a run: {error!r}") from error
    if not validated:
        raise RcnSearchError(f"the run at {uri} has no validated epoch yet; train it first")
    return curve


def _check_curve(curve: ConvergenceCurve) -> None:
    """Check that epochs and times ascend, and that times and errors are finite and not negative."""
    is_finite = np.isfinite(curve.train_s_e).all() and np.isfinite(curve.error_pct_e).all()
    ascends = (np.diff(curve.epoch_e, prepend=0) > 0).all() and (np.diff(curve.train_s_e, prepend=0.0) >= 0).all()
    if not (is_finite and ascends and (curve.error_pct_e >= 0).all()):
        raise ValueError("epochs or times do not ascend, or an error or a time is negative or not finite")


def plot_convergence(curves: Sequence[ConvergenceCurve], uri: str, *, threshold_pct: float | None = None) -> None:
    """Plot validation errors against epochs (left) and against seconds (right).

    A line is drawn at ``threshold_pct``, and the first epoch of each run below it is marked.
    """
    figure, (by_epoch, by_second) = style.panels(2, width=10.0, height=4.4 + 0.18 * len(curves))
    style.label_axes(by_epoch, "epochs", "validation error, %")
    style.label_axes(by_second, "training time, s (without validation)", "validation error, %")
    for index, curve in enumerate(curves):
        line = style.line_style(index)
        below = None if threshold_pct is None else curve.first_below(threshold_pct)
        reached = "" if threshold_pct is None else f": {describe_first_below(curve, threshold_pct)}"
        for axes, x_e in ((by_epoch, curve.epoch_e), (by_second, curve.train_s_e)):
            axes.plot(x_e, curve.error_pct_e, label=style.wrap_text(curve.label + reached), **line | {"markersize": 3})
            if below:
                mark = int(np.searchsorted(curve.epoch_e, below[0]))
                ring = line | {"markersize": 10, "markerfacecolor": "none", "zorder": 3}
                axes.plot(x_e[mark], curve.error_pct_e[mark], **ring)
    errors = [error for curve in curves for error in curve.error_pct_e]
    epochs = [epoch for curve in curves for epoch in curve.epoch_e]
    seconds = [second for curve in curves for second in curve.train_s_e]
    for axes, x in ((by_epoch, epochs), (by_second, seconds)):
        style.use_log_scale_if_wide(axes, "y", errors, 3)
        if not style.use_log_scale_if_wide(axes, "x", x, 30):
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if threshold_pct is not None:
            axes.axhline(threshold_pct, color=style.INK, linewidth=1.0, linestyle=(0, (6, 3)))
            name, line_end = f"{threshold_pct:g} %", axes.get_yaxis_transform()
            axes.text(0.995, threshold_pct, name, transform=line_end, color=style.INK, ha="right", va="bottom")
    style.add_legend_below(figure, by_epoch)
    style.set_title(figure, "Validation error against epochs and against training time")
    style.save_figure(figure, uri)


def describe_first_below(curve: ConvergenceCurve, threshold_pct: float) -> str:
    """Say when the error of a run first fell below a threshold."""
    if (below := curve.first_below(threshold_pct)) is None:
        return f"never below {threshold_pct:g} %"
    return f"below {threshold_pct:g} % after {below[0]} epochs, {below[1]:,.0f} s"
