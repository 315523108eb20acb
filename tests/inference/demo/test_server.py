from __future__ import annotations

import http.client
import io
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from rcn_search.config.network_target import ALLOW_VARIABLE, allow_target
from rcn_search.config.schema import TrainConfig
from rcn_search.inference.demo.server import MAX_PHOTO_BYTES, Demo
from tests.conftest import CommandLine
from tests.support.checkpoints import write_untrained
from tests.support.networks import TINY, WriteModule, custom
from tests.support.photographs import astronaut


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def ask(
    address: str, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    own = {"Origin": address.rstrip("/"), "Content-Type": "application/octet-stream"} if method == "POST" else {}
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body, {**own, **sent})
    answer = connection.getresponse()
    result = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    connection.close()
    return result


def test_predict_gives_the_points_of_the_predictor(address: str, demo: Demo) -> None:
    status, headers, body = ask(address, "POST", "/predict", encoded(astronaut()))
    assert (status, headers["content-type"]) == (200, "application/json")
    answer, expected = json.loads(body), demo.predictor.predict(astronaut())
    assert (answer["width"], answer["height"]) == astronaut().size
    [face] = answer["faces"]
    np.testing.assert_allclose(face["points"], expected.points[0], atol=0.006)
    np.testing.assert_allclose(face["radius"], expected.radius[0], atol=0.006)
    assert len(face["confidence"]) == 5


def test_predict_turns_a_photograph_as_its_exif_orientation_says(address: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying = encoded(astronaut().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    answer = json.loads(ask(address, "POST", "/predict", lying)[2])
    assert (answer["width"], answer["height"]) == astronaut().size
    assert len(answer["faces"]) == 1


def test_predict_without_a_face_is_no_error(address: str) -> None:
    answer = json.loads(ask(address, "POST", "/predict", encoded(Image.new("RGB", (80, 60), "gray")))[2])
    assert (answer["faces"], answer["width"], answer["height"]) == ([], 80, 60)


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"a" * 1000])
def test_predict_of_what_is_no_photograph_says_so(address: str, content: bytes) -> None:
    status, _, body = ask(address, "POST", "/predict", content)
    assert status == 400
    assert "image cannot be read" in json.loads(body)["error"]


def test_server_refuses_other_hosts_pages_paths_types_and_sizes(address: str) -> None:
    port = urlsplit(address).port
    photo = encoded(Image.new("L", (20, 20)))
    for method, path, headers, expected in (
        ("GET", "/", {}, 200),
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/../pyproject.toml", {}, 404),
        ("GET", "/demo.html", {}, 404),
        ("HEAD", "/demo.css", {}, 200),
        ("PUT", "/", {}, 501),
        ("POST", "/", {}, 404),
        ("POST", "/predict", {"Origin": "https://evil.example"}, 403),
        ("POST", "/predict", {"Origin": "null"}, 403),
        ("POST", "/predict", {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}, 403),
        ("POST", "/predict", {"Content_Type": "text/plain"}, 415),
        ("POST", "/predict", {"Content_Length": "-1"}, 415),
        ("POST", "/predict", {"Content_Length": str(MAX_PHOTO_BYTES + 1)}, 413),
        ("POST", "/predict", {}, 200),
    ):
        body = photo if method == "POST" else None
        status, sent, _ = ask(address, method, path, body, **headers)
        assert status == expected, (method, path, headers)
        assert "default-src 'none'" in sent["content-security-policy"]


def test_server_predicts_for_several_clients_at_once(address: str) -> None:
    answers: list[int] = []
    photo = encoded(Image.new("L", (60, 60)))
    threads = [
        threading.Thread(target=lambda: answers.append(ask(address, "POST", "/predict", photo)[0])) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 3


def test_model_says_what_the_page_shows(address: str) -> None:
    document = json.loads(ask(address, "GET", "/model")[2])
    assert (document["name"], document["coverage"], len(document["points"])) == ("untrained", 0.9, 5)


def test_demo_command_refuses_unknown_models_and_no_detector(
    cli: CommandLine, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    checkpoint = write_untrained(tiny_config, tmp_path)
    assert "the models that come with rcn-search" in cli.fail("demo", "--model", "rcn9")
    assert "--detector none is for crops" in cli.fail("demo", "--model", checkpoint, "--detector", "none")


def test_demo_command_runs_code_of_a_checkpoint_only_where_it_is_allowed(
    cli: CommandLine,
    tiny_config: TrainConfig,
    write_module: WriteModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = write_module(TINY)
    allow_target(name)
    config = tiny_config.model_copy(update={"model": custom(f"{name}:Tiny", width=8)})
    arguments = ("demo", "--model", write_untrained(config, tmp_path), "--detector", "nobody's")
    monkeypatch.setenv(ALLOW_VARIABLE, "")
    assert f"--allow-target {name}" in cli.fail(*arguments)
    assert "nobody's" in cli.fail(*arguments, "--allow-target", name)  # the next thing that is wrong
