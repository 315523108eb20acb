from __future__ import annotations

import math
import re
from typing import Any

import pytest
import yaml

from rcn_search import yaml_document
from rcn_search.yaml_document import MAX_DEPTH, YamlError, dump_yaml, parse_yaml, plain_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("-0", 0),
        ("+12", 12),
        ("0x1F", 31),
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("08.5", 8.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("2026-13-45", "2026-13-45"),
        ("y", "y"),
        ("oN", "oN"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("1:99", "1:99"),
        ("a_1", "a_1"),
        ("_", "_"),
        ("1e", "1e"),
        ("0x", "0x"),
        ("infinity", "infinity"),
        ("nan", "nan"),
    ],
)
def test_plain_value_is_that_of_yaml_1_2(text: str, value: Any) -> None:
    assert (type(plain_value(text)), plain_value(text)) == (type(value), value)


@pytest.mark.parametrize(
    "text",
    [
        *("010", "018", "-007", "1:30", "1:30:00.5", "0o17", "0b11", "-0x1f", "1_000", "0x_1", "1_0.5", "1_000e3"),
        *("yes", "No", "ON", "off", "1" * 5_000, "1." + "1" * 5_000, "1e400", "-1e400"),
    ],
)
def test_plain_value_that_may_mean_something_else_is_refused(text: str) -> None:
    with pytest.raises(YamlError):
        plain_value(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  - c: 010\n", "f, line 3: b.0.c: 010 can be read as more than one number"),
        ("a: off\n", "f, line 1: a: off is a boolean in YAML 1.1 and text in YAML 1.2: write true or false"),
        ("a: 1\nb: !!bool maybe\n", "f, line 2: b: YAML tags such as !!bool are not allowed here"),
        ("a: !!timestamp x\n", "f, line 1: a: YAML tags such as !!timestamp are not allowed here"),
        ("a: !mine [1]\n", "f, line 1: a: YAML tags such as !mine are not allowed here"),
        ("a: 1\n? [1, 2]\n: 3\n", "f, line 2: a key must be text"),
        ("a: 1\na: 2\n", "f, line 2: key 'a' appears twice"),
        ("a: &x 1\nb: *x\n", "f, line 2: b: YAML aliases are not allowed here"),
        ("a: 1\n---\nb: 2\n", "f, line 2: a second document begins here"),
        ("a: 1\nb: [1\n", "f, line 3: not valid YAML: "),
        ("a: \x07\n", "f: not valid YAML: "),
        ("a: " + "1" * 5_000, "f, line 1: a: 1111111111111111111111111111111111111111… a number of 5,000 digits"),
        ("a: " + "[" * 10**5, f"more than {MAX_DEPTH} lists or mappings within each other"),
        ("a: " + "{b: " * 10**5, f"more than {MAX_DEPTH} lists or mappings within each other"),
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("with_libyaml", [True, False])
def test_parse_yaml_of_what_is_no_plain_data_names_line_and_key(
    monkeypatch: pytest.MonkeyPatch, text: str, message: str, with_libyaml: bool
) -> None:
    if not with_libyaml:
        monkeypatch.setattr(yaml_document, "_PARSER", yaml.SafeLoader)
    with pytest.raises(YamlError, match=re.escape(message)):
        parse_yaml(text, "f")


@pytest.mark.parametrize("with_libyaml", [True, False])
def test_parse_yaml_reads_quotes_blocks_and_line_ends(monkeypatch: pytest.MonkeyPatch, with_libyaml: bool) -> None:
    if not with_libyaml:
        monkeypatch.setattr(yaml_document, "_PARSER", yaml.SafeLoader)
    text = "010: '010'\r\non: \"on\"\r\nb:\r\n- |\r\n  1\r\n- ! 1\r\n- &x {}\r\n<<: {a: 1}\r\n"
    document, lines = parse_yaml(text, "f")
    assert document == {"010": "010", "on": "on", "b": ["1\n", "1", {}], "<<": {"a": 1}}
    assert (lines["010",], lines["b", 2], lines["<<", "a"]) == ("line 1", "line 7", "line 8")


def test_parse_yaml_of_half_a_surrogate_pair_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for parser in (yaml.SafeLoader, yaml_document._PARSER):
        monkeypatch.setattr(yaml_document, "_PARSER", parser)
        with pytest.raises(YamlError, match="line 1"):
            parse_yaml('a: "\\ud800"', "f")


def test_dump_yaml_is_read_back_as_it_was() -> None:
    texts = ["010", "on", "1e5", "1_0", "~", "true", "1:30", "2026-01-02", "a: b", "a #b", "", " x", "ü\n", "=", "0x1f"]
    document = {"texts": texts, "numbers": [1, -2.5, 1e-300, 1e300, 1e16], "others": {"a": None, "b": [True, {}, []]}}
    assert parse_yaml(dump_yaml(document), "f")[0] == document
