from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from rcn_search.evaluation.figures.style import FORMATS, panels, save_figure, set_title


@pytest.mark.parametrize("width", [3.7, 6.4, 12.0])
def test_set_title_fits_the_width_of_the_figure(width: float) -> None:
    figure, _ = panels(1, width=width)
    set_title(
        figure,
        "synthetic test: 800 images",
        "subpixel: five points, sub-pixel, by eye centers, box from truth, percent",
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (title,) = figure.texts
    extent = title.get_window_extent(canvas.get_renderer())
    assert 0 <= extent.x0 < extent.x1 <= figure.bbox.width


def test_save_figure_format_is_the_suffix(tmp_path: Path) -> None:
    figure, _ = panels(1)
    for kind, start in zip(FORMATS, (b"\x89PNG", b"<?xml", b"%PDF"), strict=True):
        save_figure(figure, str(tmp_path / f"a.{kind}"))
        assert (tmp_path / f"a.{kind}").read_bytes().startswith(start)
    with pytest.raises(ValueError, match="must end in one of"):
        save_figure(figure, str(tmp_path / "a.gif"))
