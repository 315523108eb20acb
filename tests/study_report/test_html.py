from __future__ import annotations

import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rcn_search.study.snapshot import open_study
from rcn_search.study.study import Study
from rcn_search.study_report.export import export
from rcn_search.study_report.html import render_html

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> {0} & \"quoted\""


class Page(HTMLParser):
    """What a browser would see: the elements with their attributes, and the text of all but scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data + " "

    @property
    def titles(self) -> list[str]:
        return re.findall(
            r"(History of \w+|Importance for \w+|Slices of \w+|Parallel \w+ of \w+|Pareto front|Learning curves)",
            self.text,
        )


def num_figures(page: Page) -> int:
    return sum("Plotly.newPlot(" in script and len(script) < 1_000_000 for script in page.scripts)


def test_export_html_has_all_figures_and_trials_and_loads_nothing(
    play_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = open_study(play_study(num_trials=12, num_open=1, budget={"trials": 13}).uri)
    assert export(study, str(tmp_path / "study.html")) == [str(tmp_path / "study.html")]
    page = Page((tmp_path / "study.html").read_text())
    names = ["History of error", "Importance for error", "Slices of error", "Parallel coordinates of error"]
    assert page.titles == [*names, "Learning curves"]
    assert num_figures(page) == 5, page.text
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1  # Plotly, once
    fetched = {"src", "href", "srcset", "data", "action"}
    assert not [element for element in page.elements if fetched & element[1].keys()]
    policy = next(each["content"] for tag, each in page.elements if each.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert "12 of 13 trials ended" in page.text
    rows = re.findall(r"<tr><td>(\d+)</td>", (tmp_path / "study.html").read_text())
    assert sorted(map(int, rows)) == list(range(13))
    assert rows[0] == str(study.best_trial.number)
    assert "the loss became nan" in page.text


def test_render_html_with_several_objectives_has_a_pareto_front(play_study: Callable[..., Study]) -> None:
    page = Page(render_html(open_study(play_study(num_trials=12, objectives=["error", "train_time"]).uri)))
    assert page.titles.count("Pareto front") == 2  # in the line of the best trials, and as a title
    assert "History of train_time" in page.titles
    assert num_figures(page) == 2 * 4 + 2, page.text


def test_render_html_of_too_few_trials_explains_missing_figures(play_study: Callable[..., Study]) -> None:
    page = Page(render_html(open_study(play_study(num_trials=0).uri)))
    assert page.text.count("Two complete trials are needed.") == 4
    assert "No trial has finished an epoch." in page.text
    assert num_figures(page) == 0


def test_render_html_escapes_names_and_reasons(play_study: Callable[..., Study]) -> None:
    study = open_study(
        play_study(num_trials=12, search={"data.train_split": {"choice": ["train", HOSTILE]}}, initial_trials=[]).uri
    )
    failed = study.trials[2]
    failed.result = failed.result.model_copy(update={"reason": HOSTILE})
    study.uri = HOSTILE
    text = render_html(study)
    page = Page(text)
    assert any(trial.params["data.train_split"] == HOSTILE for trial in study.trials)
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "br", "span", "script", "section", "div"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert not [element for element in page.elements if any(key.startswith("on") for key in element[1])]
    assert page.text.count(HOSTILE) >= 2
    assert "<script>alert(" not in text
    assert num_figures(page) == 5


def test_render_html_without_plotly_says_how_to_install_it(
    play_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ValueError, match=r"pip install 'rcn-search\[report\]'"):
        render_html(open_study(play_study(num_trials=2).uri))
