"""YAML documents of plain data: text, numbers, booleans, lists and mappings, and the line of every key.

Values are those of the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema). What YAML 1.1 reads as
another number or boolean (``010``, ``1:30``, ``1_000``, ``on``) is refused, since nobody can know what was meant. A
document is built from the parser's events alone: tags, aliases and PyYAML's constructors have no part in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from rcn_search.errors import RcnSearchError

MAX_DEPTH = 32
"""Largest number of mappings and lists within each other."""
_MAX_DIGITS = 100

KeyPath = tuple[str | int, ...]
Lines = dict[KeyPath, str]
"""Where each key was set: ``line 3`` of the file, or ``--set 'seed=1'``."""
Scalar = bool | int | float | str | None

# Ten times as fast with libyaml, which is part of PyYAML's wheels. Only the parser is used.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_WORDS: dict[str, Scalar] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OLD_BOOLEAN = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
# Numbers of YAML 1.1 alone, or others than in YAML 1.2: octal, binary, hexadecimal with a sign, base 60, underscores.
_OLD_NUMBER = re.compile(
    r"[-+]?(0[0-9]+|0o[0-7]+|0b[01]+|0x[0-9a-fA-F]+|[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?)"
    r"|(?=.*_)[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?([eE][-+]?[0-9]+)?)"
)


class YamlError(RcnSearchError):
    """A YAML document that cannot be used; the message names the source, the line and the key."""


def plain_value(text: str) -> Scalar:
    """Return the value of a scalar without quotes.

    >>> plain_value("1e-3"), plain_value("true"), plain_value("s3://bucket"), plain_value("~")
    (0.001, True, 's3://bucket', None)

    Raises:
        YamlError: It can be read in two ways, or is a number with too many digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise YamlError(f"a number of {len(text):,} digits; at most {_MAX_DIGITS} are read")
        return int(text, 16 if text.startswith("0x") else 10)
    if _OLD_NUMBER.fullmatch(text):
        raise YamlError("can be read as more than one number: write a plain decimal number, or quotes around text")
    if _OLD_BOOLEAN.fullmatch(text):
        raise YamlError("is a boolean in YAML 1.1 and text in YAML 1.2: write true or false, or quotes around text")
    if _NO_NUMBER.fullmatch(text):
        return float(text.lower().replace(".", "", 1))
    if _REAL.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise YamlError(f"a number of {len(text):,} digits; at most {_MAX_DIGITS} are read")
        if abs(number := float(text)) == float("inf"):
            raise YamlError("is larger than any number that can be computed with")
        return number
    return text


def parse_yaml(text: str, source: str, *, is_override: bool = False) -> tuple[Any, Lines]:
    """Parse a document, and find the line, from 1, of each of its keys.

    Raises:
        YamlError: It is not YAML, or not plain data; a key appears twice, or it is nested deeper than `MAX_DEPTH`.
    """
    builder = _Builder(source, names_lines=not is_override)
    try:
        for event in yaml.parse(text, _PARSER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = builder.place(mark.line + 1) if mark else source
        raise YamlError(f"{line}: not valid YAML: {', '.join(filter(None, (error.context, error.problem)))}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow, by its position
        raise YamlError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if is_override and (rest := text[builder.end :].strip()):
        raise YamlError(f"{source}: {_short(rest)} follows the value; put quotes around text")
    return builder.document, builder.lines


@dataclass
class _Open:
    """A mapping or list whose end has not come; ``key`` is that of the next value of a mapping."""

    content: dict[str, Any] | list[Any]
    path: KeyPath
    key: str | None = None

    @property
    def next_path(self) -> KeyPath:
        """Path of the value that comes next."""
        if isinstance(self.content, list):
            return (*self.path, len(self.content))
        return self.path if self.key is None else (*self.path, self.key)

    @property
    def takes_key(self) -> bool:
        return isinstance(self.content, dict) and self.key is None

    def add(self, value: Any) -> None:
        if isinstance(self.content, list):
            self.content.append(value)
        else:
            assert self.key is not None
            self.content[self.key], self.key = value, None


class _Builder:
    """Builds a document from a parser's events."""

    def __init__(self, source: str, *, names_lines: bool) -> None:
        self.document: Any = None
        self.lines: Lines = {}
        self._source, self._names_lines = source, names_lines
        self._open: list[_Open] = []
        self._num_documents = 0
        self.end = 0
        """Index of the character after the last value."""

    def place(self, line: int) -> str:
        """Name the source and a line of it; an override has only one."""
        return f"{self._source}, line {line}" if self._names_lines else self._source

    def take(self, event: yaml.Event) -> None:
        """Add what an event of the parser says."""
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            self.end = event.end_mark.index if event.end_mark else 0
        match event:
            case yaml.DocumentStartEvent():
                self._num_documents += 1
                if self._num_documents > 1:
                    self._refuse(event, "a second document begins here; one is expected")
            case yaml.AliasEvent():
                self._refuse(event, "YAML aliases are not allowed here")
            case yaml.ScalarEvent(tag=tag) | yaml.CollectionStartEvent(tag=tag) if tag not in (None, "!"):
                tag = str(tag).replace("tag:yaml.org,2002:", "!!")
                self._refuse(event, f"YAML tags such as {tag:.40} are not allowed here; write the value as it is")
            case yaml.ScalarEvent() if self._open and self._open[-1].takes_key:
                self._take_key(event)
            case yaml.ScalarEvent():
                self._place_value(event, self._scalar(event))
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start_collection(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._open.pop()

    def _start_collection(self, event: yaml.CollectionStartEvent) -> None:
        if self._open and self._open[-1].takes_key:
            self._refuse(event, "a key must be text, not a list or mapping")
        if len(self._open) == MAX_DEPTH:
            self._refuse(event, f"more than {MAX_DEPTH} lists or mappings within each other")
        path = self._open[-1].next_path if self._open else ()
        content: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._place_value(event, content)
        self._open.append(_Open(content, path))

    def _take_key(self, event: yaml.ScalarEvent) -> None:
        parent, key = self._open[-1], str(event.value)
        assert isinstance(parent.content, dict)
        if key in parent.content:
            self._refuse(event, f"key {_short(key)} appears twice")
        parent.key = self._text(event)
        self._note_line(event)

    def _place_value(self, event: yaml.Event, value: Any) -> None:
        if not self._open:
            self.document = value
            return
        parent = self._open[-1]
        if isinstance(parent.content, list):
            self._note_line(event)
        parent.add(value)

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        is_plain = event.implicit[0] and event.tag is None
        if not is_plain:
            return self._text(event)
        try:
            value = plain_value(event.value)
        except YamlError as error:
            self._refuse(event, f"{_short(event.value)[1:-1]} {error}")
        return self._text(event) if isinstance(value, str) else value

    def _text(self, event: yaml.ScalarEvent) -> str:
        text = str(event.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._refuse(event, "half of a surrogate pair is no character")
        return text

    def _note_line(self, event: yaml.Event) -> None:
        if self._names_lines:
            self.lines[self._open[-1].next_path] = f"line {_line(event)}"

    def _refuse(self, event: yaml.Event, problem: str) -> NoReturn:
        path = self._open[-1].next_path if self._open else ()
        key = f"{'.'.join(map(str, path)):.80}: " if path else ""
        raise YamlError(f"{self.place(_line(event))}: {key}{problem}")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


class _Dumper(_DUMPER):  # type: ignore[misc, valid-type]
    """Puts quotes around text that `plain_value` would not read as the same text."""


def _represent_text(dumper: yaml.Dumper, text: str) -> yaml.ScalarNode:
    try:
        is_plain = plain_value(text) == text
    except YamlError:
        is_plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else "'")


_Dumper.add_representer(str, _represent_text)


def dump_yaml(document: Any) -> str:
    """Format plain data so that `parse_yaml` reads the same; keys keep their order.

    >>> print(dump_yaml({"model": {"mask": "0011"}, "lr": 0.001}), end="")
    model:
      mask: '0011'
    lr: 0.001
    """
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
