from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures import convergence as figures_convergence
from rcn_search.evaluation.figures.convergence import describe_first_below, plot_convergence, read_convergence_curves


@pytest.fixture
def run_at(tmp_path: Path) -> Callable[..., str]:
    """Writes the files of a run with the given validation errors; epochs of 10, 20, 30, … seconds."""

    def write(name: str, errors: list[float | None] | None, **sections: Any) -> str:
        folder = tmp_path / name
        folder.mkdir()
        config = TrainConfig.model_validate({"data": {"uri": "somewhere"}, **sections})
        (folder / "config.json").write_text(json.dumps({"config": config.model_dump(mode="json")}))
        if errors is not None:
            rows = [
                {"epoch": epoch, "train_s": 10.0 * epoch, "val_s": 1000.0, "val_error_pct": error}
                for epoch, error in enumerate(errors, start=1)
            ]
            (folder / "history.json").write_text(json.dumps(rows))
        return str(folder)

    return write


def test_read_convergence_curves_of_validated_epochs(run_at: Callable[..., str]) -> None:
    curves = read_convergence_curves(
        [run_at("a", [20.0, None, 7.0, 6.5, 7.5]), run_at("b", [9.0], model={"name": "sumnet"}) + "/"]
    )
    assert [curve.label for curve in curves] == ["RCN", "SumNet"]
    curve = curves[0]
    assert curve.epoch_e.tolist() == [1, 3, 4, 5]
    assert curve.train_s_e.tolist() == [10, 60, 100, 150]  # the unvalidated epoch took its 20 seconds too
    assert curve.error_pct_e.tolist() == [20, 7, 6.5, 7.5]
    assert curve.first_below(7) == (4, 100.0)
    assert curve.first_below(50) == (1, 10.0)
    assert curve.first_below(6.5) is None
    assert describe_first_below(curve, 7) == "below 7 % after 4 epochs, 100 s"
    assert describe_first_below(curve, 2.5) == "never below 2.5 %"


@pytest.mark.parametrize(
    ("epoch", "change"),
    [
        (1, {"epoch": 1}),
        (0, {"epoch": 0}),
        (1, {"val_error_pct": math.inf}),
        (0, {"val_error_pct": -1.0}),
        (1, {"train_s": -1.0}),
        (0, {"train_s": math.nan}),
        (0, {"epoch": 10**30}),
    ],
)
def test_read_convergence_curves_refuses_damaged_history_by_name(
    run_at: Callable[..., str], epoch: int, change: dict[str, Any]
) -> None:
    path = Path(run_at("run", [9.0, 8.0]), "history.json")
    rows = json.loads(path.read_text())
    rows[epoch] |= change
    path.write_text(json.dumps(rows))
    with pytest.raises(RcnSearchError, match=r"history\.json is not"):
        read_convergence_curves([str(path.parent)])


def test_read_convergence_curves_refuses_configuration_that_is_a_list(run_at: Callable[..., str]) -> None:
    path = Path(run_at("run", [9.0, 8.0]), "config.json")
    path.write_text('{"config": [null]}')
    with pytest.raises(RcnSearchError, match=r"config\.json is not a configuration"):
        read_convergence_curves([str(path.parent)])


def test_read_convergence_curves_rejects_other_folders(run_at: Callable[..., str], tmp_path: Path) -> None:
    fine = run_at("fine", [9.0])
    for errors, name in ((None, "none"), ([], "empty"), ([None, None], "unvalidated")):
        with pytest.raises(ValueError, match=f"the run at .*{name} has no validated epoch yet"):
            read_convergence_curves([fine, run_at(name, errors)])
    for nothing in (tmp_path / "gone", tmp_path / "fine" / "history.json"):
        with pytest.raises(ValueError, match=r"no run at .*: config\.json is missing; name the folder"):
            read_convergence_curves([str(nothing)])
    with pytest.raises(ValueError, match="named twice"):
        read_convergence_curves([fine, fine + "/"])
    (tmp_path / "fine" / "history.json").write_text('[{"epoch": 1}]')
    with pytest.raises(ValueError, match=r"history\.json is not the history of a run"):
        read_convergence_curves([fine])
    for content in ("[]", "{}", '{"config": {"model": 3}}'):
        (tmp_path / "fine" / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json is not a configuration that"):
            read_convergence_curves([fine])


def test_plot_convergence_draws_the_curves(
    run_at: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    curves = read_convergence_curves([run_at("a", [20.0, None, 7.0, 6.5]), run_at("b", [9.0, 8.0], seed=1)])
    uri = str(tmp_path / "convergence.png")
    plot_convergence(curves, uri, threshold_pct=7)
    assert Image.open(uri).format == "PNG"
    drawn: list[Figure] = []
    monkeypatch.setattr(figures_convergence.style, "save_figure", lambda figure, uri: drawn.append(figure))
    plot_convergence(curves, uri, threshold_pct=7)
    for axes, x, mark, unit in (
        (drawn[0].axes[0], [[1, 3, 4], [1, 2]], 4, "epochs"),
        (drawn[0].axes[1], [[10, 60, 100], [10, 30]], 100, "training time, s"),
    ):
        first, ring, second, line = axes.lines
        for own, (curve, x_e) in zip((first, second), zip(curves, x, strict=True), strict=True):
            assert np.asarray(own.get_xdata()).tolist() == x_e
            assert np.asarray(own.get_ydata()).tolist() == curve.error_pct_e.tolist()
        assert [*np.ravel(ring.get_xdata()), *np.ravel(ring.get_ydata())] == [mark, 6.5]
        assert set(line.get_ydata()) == {7}
        assert axes.get_xlabel().startswith(unit)
        assert axes.get_xscale() == "linear"
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["RCN seed=0: below 7 % after 4 epochs, 100 s", "RCN seed=1: never below 7 %"]


def test_plot_convergence_long_run_has_logarithmic_axes(
    run_at: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(figures_convergence.style, "save_figure", lambda figure, uri: drawn.append(figure))
    plot_convergence(read_convergence_curves([run_at("long", [40 / epoch for epoch in range(1, 50)])]), "nowhere")
    assert [axes.get_xscale() for axes in drawn[0].axes] == ["log", "log"]
    assert [axes.get_yscale() for axes in drawn[0].axes] == ["log", "log"]
    assert all(len(axes.lines) == 1 for axes in drawn[0].axes)  # no line and no mark that was not asked for


@pytest.mark.parametrize("errors", [[0.0, 0.0], [5.0]])
def test_plot_convergence_draws_zero_and_single_errors(
    run_at: Callable[..., str], errors: list[float], tmp_path: Path
) -> None:
    plot_convergence(read_convergence_curves([run_at("a", errors)]), str(tmp_path / "a.png"), threshold_pct=0.0)
    assert Image.open(tmp_path / "a.png").format == "PNG"
