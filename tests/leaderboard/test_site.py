"""The pages as files: their content, and that no method name becomes markup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.evaluation.score import Estimate, Part
from rcn_search.inference.predictor import load
from rcn_search.leaderboard.records import add_entry
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.site.charts import pareto_front, sample_ced
from rcn_search.leaderboard.site.entries import read_histories
from rcn_search.leaderboard.site.faces import FaceSource
from rcn_search.leaderboard.site.keypoint_map import keypoint_map
from rcn_search.leaderboard.submit import evaluate_and_record
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import record_test_evaluation
from rcn_search.models import build_model
from rcn_search.training.checkpoint import CheckpointInfo, network_tensors
from rcn_search.training.trainer import Trainer
from tests.support.checkpoints import write_checkpoint

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script><!--",
    "\" onmouseover=alert(3) x='",
    "<img src=https://evil.example/x onerror=alert(4)>",
    "{{ 7 * 7 }} {% raw %}",
    "a" * 200,
]
PUBLISHED_HEAD = (
    "method,year,dataset,subset,keypoints,protocol,normalizer,grid,error_pct,origin,source,link,note\n"
    "Paper,2016,aflw,test,five,rcn2016,eye_centers,80,5.60,reported,A paper,https://example.org/paper,\n"
)


class Page(HTMLParser):
    """The elements of a page and the text of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def leaderboard(tmp_path: Path, add_measured: Callable[..., str]) -> str:
    uri = str(tmp_path / "leaderboard")
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    (tmp_path / "leaderboard" / "published" / "a.csv").write_text(PUBLISHED_HEAD)
    errors = np.random.default_rng(0).gamma(9.0, 0.6, 60)
    for i, name in enumerate(["RCN", *HOSTILE]):
        add_measured(uri, errors * (1 + 0.2 * i), method=name, num_params=1000 * (i + 1))
    return uri


def written(leaderboard: str, out: Path) -> Path:
    Site(out).write(build_leaderboard(leaderboard))
    return out


def test_table_page_separates_published_rows_without_ranks(leaderboard: str, tmp_path: Path) -> None:
    html = (written(leaderboard, tmp_path / "site") / "aflw-test-rcn2016-five.html").read_text()
    measured, published = html.split('data-kind="published"')
    assert "RCN" in measured
    assert "Paper" not in measured
    assert ">Paper<" in published
    assert 'href="https://example.org/paper"' in published
    assert 'class="rank"' not in published
    assert measured.count('class="rank"') == 1 + 1 + len(HOSTILE)


def test_site_two_protocols_have_two_pages(leaderboard: str, tmp_path: Path, add_measured: Callable[..., str]) -> None:
    add_measured(leaderboard, [3.0, 4.0], method="Only sub-pixel", protocol=subpixel("aflw", "test", "five"))
    site = written(leaderboard, tmp_path / "site")
    first, second = ((site / f"aflw-test-{name}-five.html").read_text() for name in ("rcn2016", "subpixel"))
    assert "Only sub-pixel" in second
    assert "Only sub-pixel" not in first
    assert 'href="aflw-test-subpixel-five.html"' in first


def test_site_hostile_names_are_escaped(leaderboard: str, tmp_path: Path) -> None:
    site = written(leaderboard, tmp_path / "site")
    pages = [*site.glob("*.html"), *site.glob("entry/*.html")]
    assert len(pages) == 2 + 1 + len(HOSTILE)
    for path in pages:
        page = Page(path)
        assert not [tag for tag, _ in page.elements if tag in ("img", "iframe", "object", "style")], path
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on")], (path, tag)
            if tag == "script":
                assert attributes.get("type") == "application/json" or attributes["src"].split("assets/")[0] in (
                    "",
                    "../",
                )
    text = "".join(Page(site / "aflw-test-rcn2016-five.html").texts)
    for name in HOSTILE:
        assert name in text


def test_site_links_no_other_host(leaderboard: str, tmp_path: Path) -> None:
    site = written(leaderboard, tmp_path / "site")
    for path in [*site.glob("*.html"), *site.glob("entry/*.html")]:
        for tag, attributes in Page(path).elements:
            for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                target = attributes.get(name) or ""
                assert "//" not in target or (tag == "a" and attributes["rel"] == "noreferrer noopener external"), path
    for asset in (site / "assets").iterdir():
        assert not re.findall(r"https?://(?!www\.w3\.org/)", asset.read_text()), asset


def test_site_script_data_with_hostile_names_parses(leaderboard: str, tmp_path: Path) -> None:
    html = (written(leaderboard, tmp_path / "site") / "aflw-test-rcn2016-five.html").read_text()
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.S)
    ced, cost, measured, _ = map(json.loads, blocks)
    assert {curve["name"] for curve in ced["series"]} == {"RCN", *HOSTILE}
    assert {point["name"] for point in cost["points"]} == {"RCN", *HOSTILE}
    assert set(measured["methods"]) == {"RCN", *HOSTILE}


def test_entry_page_configuration_is_valid(leaderboard: str, tmp_path: Path) -> None:
    site = written(leaderboard, tmp_path / "site")
    (config,) = (site / "config").iterdir()
    assert yaml.safe_load(config.read_text()) == {"seed": 0, "model": {"name": "rcn"}}
    page = next(path for path in site.glob("entry/*.html") if "<bdi>RCN</bdi>" in path.read_text())
    html = page.read_text()
    assert f"rcn-search train config/{config.name} --set data.uri=DATA --out runs/0123456789ab" in html
    assert "name: rcn" in html


def test_site_has_no_local_paths(tmp_path: Path, add_measured: Callable[..., str]) -> None:
    uri = str(tmp_path / "leaderboard")
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    for i, data in enumerate(("/home/jane/secret", "~/secret", "file:///secret", "C:\\secret", "s3://bucket/mtfl")):
        config = {"data": {"uri": data}, "teachers": [data]}
        made_with = {"denoiser": "abcdef"} if i == 0 else {}
        add_measured(uri, [4.0 + i, 5.0], method=f"Model {i}", config=config, made_with=made_with)
    (tmp_path / "leaderboard" / "entries" / "torn.json").write_text("{")
    site = written(uri, tmp_path / "site")
    for path in (path for path in site.rglob("*") if path.is_file() and path.parent.name != "assets"):
        assert not re.search(rf"secret|{tmp_path}", path.read_text()), path
    assert "entries/torn.json is left out" in (site / "index.html").read_text()
    pages = [path.read_text() for path in site.glob("entry/*.html")]
    (denoised,) = [html for html in pages if "<bdi>Model 0</bdi>" in html]
    assert re.search(r"rcn-search train config/\w+.yaml --set data.uri=DATA --out runs/0123456789ab<", denoised)
    assert "best.safetensors --data DATA --denoiser DENOISER<" in denoised
    assert "DATA: your copy of the data set" in denoised
    assert "DENOISER: best.safetensors of the denoiser, run abcdef." in denoised
    (stated,) = [html for html in pages if "<bdi>Model 4</bdi>" in html]
    assert re.search(r"rcn-search train config/\w+.yaml --out runs/0123456789ab<", stated)
    assert "--data s3://bucket/mtfl<" in stated
    assert "DATA:" not in stated
    assert sorted(yaml.safe_load(path.read_text())["data"]["uri"] for path in site.glob("config/*")) == [
        *["DATA"] * 4,
        "s3://bucket/mtfl",
    ]


def test_entry_page_names_classes(tmp_path: Path, add_measured: Callable[..., str]) -> None:
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    parts = {"pose 0": Part(40, Estimate(5.0, 4.0, 6.0)), "light 3": Part(40, Estimate(5.0, 4.0, 6.0))}
    add_measured(str(tmp_path / "leaderboard"), [4.0, 5.0], parts=parts)
    (page,) = (written(str(tmp_path / "leaderboard"), tmp_path / "site") / "entry").iterdir()
    assert "<bdi>pose: left profile</bdi>" in page.read_text()
    assert "<bdi>light 3</bdi>" in page.read_text()


def test_entry_page_shows_learning_curve_of_named_runs(
    tmp_path: Path, tiny_config: TrainConfig, add_measured: Callable[..., str]
) -> None:
    Trainer(tiny_config, str(tmp_path / "runs" / "one")).train()
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    add_measured(str(tmp_path / "leaderboard"), [4.0, 5.0], method="Known", run_id=tiny_config.run_id)
    add_measured(str(tmp_path / "leaderboard"), [5.0, 6.0], method="Unknown")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "one"):
        histories = read_histories([str(folder)])
        Site(tmp_path / "site", histories=histories).write(build_leaderboard(str(tmp_path / "leaderboard")))
        pages = [path.read_text() for path in (tmp_path / "site").glob("entry/*.html")]
        (known,) = [html for html in pages if "Learning curve" in html]
        assert "<bdi>Known</bdi>" in known
        chart = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', known)[0])
        assert chart["x"] == [1, 2]
        assert len(chart["series"][0]["y"]) == 2
    with pytest.raises(ValueError, match="is neither a run nor a folder of runs"):
        read_histories([str(tmp_path / "leaderboard")])
    damaged = tmp_path / "runs" / "one" / "history.json"
    infinite = json.loads(damaged.read_text())
    infinite[0]["val_error_pct"] = float("inf")
    for document in ([{"epoch": "x"}], infinite):
        damaged.write_text(json.dumps(document))
        with pytest.raises(RcnSearchError, match="cannot be read"):
            read_histories([str(tmp_path / "runs")])


def test_entry_page_shows_faces_only_with_images(tmp_path: Path, tiny_config: TrainConfig, synthetic_uri: str) -> None:
    leaderboard, checkpoint = str(tmp_path / "leaderboard"), str(tmp_path / "best.safetensors")
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    info = CheckpointInfo(
        kind="weights", config=tiny_config, keypoints="five", data_fingerprint="f", epoch=2, val_error_pct=1, train_s=9
    )
    write_checkpoint(checkpoint, info, network_tensors(build_model(tiny_config.model, num_points=5)))
    evaluation = evaluate_and_record(
        load(checkpoint),
        open_dataset(synthetic_uri),
        "test",
        leaderboard=leaderboard,
        predictions_uri=str(tmp_path / "predictions.parquet"),
        submit=True,
    ).evaluation
    without = written(leaderboard, tmp_path / "without")
    assert not [*without.rglob("*.png")]
    assert all("Not shown: images are needed" in path.read_text() for path in without.glob("entry/*.html"))
    (tmp_path / "predictions.parquet").rename(tmp_path / "moved.parquet")
    Site(tmp_path / "moved", faces=FaceSource.from_uris(synthetic_uri, [])).write(build_leaderboard(leaderboard))
    assert all(
        "its predictions are not stored on the leaderboard" in path.read_text()
        for path in (tmp_path / "moved").glob("entry/*")
    )
    (tmp_path / "moved.parquet").rename(tmp_path / "predictions.parquet")
    faces = FaceSource.from_uris(synthetic_uri, [str(tmp_path / "predictions.parquet")])
    Site(tmp_path / "site", faces=faces).write(build_leaderboard(leaderboard))
    html = next(
        path.read_text() for path in (tmp_path / "site").glob("entry/*.html") if "subpixel:" in path.read_text()
    )
    worst, median = html.split("Worst faces")[1].split("Median faces")
    shown = [float(value) for value in re.findall(r"an error of ([0-9.]+) %", worst)]
    errors = next(score for protocol, score in evaluation.scores if protocol.name == "subpixel").errors.error_pct_n
    np.testing.assert_allclose(shown, np.sort(errors)[::-1][:8], atol=0.051)
    middle = [float(value) for value in re.findall(r"an error of ([0-9.]+) %", median)]
    assert min(middle) <= np.median(errors) <= max(middle)
    for name in re.findall(r'href="\.\./(faces/[0-9a-f]{16}\.png)"', html):
        assert Image.open(tmp_path / "site" / name).size == (160, 160)
    assert html.count('class="truth"') == 16 * 5


def test_table_page_shows_test_evaluations_and_problems(leaderboard: str, tmp_path: Path) -> None:
    for _ in range(3):
        record_test_evaluation(
            leaderboard, dataset="aflw", subset="test", method="<b>RCN</b>", run_id="0123456789ab", who="me"
        )
    (Path(leaderboard) / "entries" / "torn.json").write_text("{")
    html = (written(leaderboard, tmp_path / "site") / "aflw-test-rcn2016-five.html").read_text()
    assert '<a href="#evaluations">3</a>' in html
    assert html.count("&lt;b&gt;RCN&lt;/b&gt;") == 3
    assert "1 object of this leaderboard has problems" in html
    assert "torn.json" in html


def test_entry_page_unsafe_id_is_hashed(tmp_path: Path, make_entry: Callable[..., object]) -> None:
    uri = str(tmp_path / "leaderboard")
    path = Path(add_entry(uri, make_entry()))  # type: ignore[arg-type]
    path.rename(path.with_name(f'"><script>x..-{path.name[-17:]}'))
    site = written(uri, tmp_path / "site")
    (page,) = (site / "entry").iterdir()
    assert re.fullmatch(r"[0-9a-f]{24}\.html", page.name)
    assert "<script>x" not in (site / "aflw-test-rcn2016-five.html").read_text()


def test_site_folder_with_other_files_is_refused(leaderboard: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="holds files that are not a site"):
        written(leaderboard, tmp_path / "home")
    site = written(leaderboard, tmp_path / "site")
    before = (site / "stamp.txt").read_text()
    assert (written(leaderboard, site) / "stamp.txt").read_text() != before


def test_site_empty_leaderboard_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    site = written(str(tmp_path / "leaderboard"), tmp_path / "site")
    assert "The leaderboard is empty" in (site / "index.html").read_text()


def test_sample_ced_is_exact() -> None:
    errors = np.random.default_rng(1).gamma(9.0, 0.6, 5000)
    errors[:50] = 3.75  # ties at a sampled error
    sampled = np.linspace(0, 15, 161)
    expected = [100 * np.mean(errors <= error) for error in sampled]
    np.testing.assert_allclose(sample_ced(errors, sampled), expected, rtol=0, atol=1e-12)


def test_pareto_front_matches_brute_force() -> None:
    rng = np.random.default_rng(2)
    costs = [None if i % 7 == 0 else float(rng.integers(1, 12)) for i in range(60)]
    errors = [float(rng.integers(1, 12)) for _ in range(60)]
    known = [i for i in range(60) if costs[i] is not None]
    expected = {
        i
        for i in known
        if not any(
            costs[other] <= costs[i]
            and errors[other] <= errors[i]
            and (costs[other], errors[other]) != (costs[i], errors[i])
            for other in known
        )
    }
    assert pareto_front(costs, errors) == expected


def test_keypoint_map_area_is_proportional_to_error() -> None:
    estimates = [Estimate(1.0, 0.5, 1.5), Estimate(4.0), Estimate(2.0), None, Estimate(3.0)]
    drawing = keypoint_map("five", estimates)
    assert drawing is not None
    assert [point.name for point in drawing.worst] == ["right eye", "right mouth", "nose", "left eye"]
    by_name = {point.name: point for point in drawing.points}
    assert by_name["right eye"].radius == 2 * by_name["left eye"].radius
    assert [point.level for point in drawing.points] == [0, 4, 1, 3]
    assert keypoint_map("five of ibug68", estimates) is None
    assert keypoint_map("five", ()) is None
    assert rcn2016("aflw", "test", "five").keypoints == "five"
