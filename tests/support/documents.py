"""Pages, code blocks and command lines of the documentation, for the tests of tests/docs/."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        REPOSITORY / "cluster" / "README.md",
        REPOSITORY / "leaderboard" / "README.md",
    ]
)
PROGRAMS = ("rcn-search", "python -m rcn_search.tune", "python -m rcn_search")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:rcn-search|python -m rcn_search)[^`\n]*)`")


class Block(NamedTuple):
    """A fenced block of a page: its language, its title and its text."""

    page: Path
    language: str
    title: str
    text: str


class CommandLine(NamedTuple):
    """A command line of this program and where it is written; in running text it may leave out arguments."""

    source: str
    text: str
    in_prose: bool = False

    @property
    def is_abridged(self) -> bool:
        """Whether arguments are left out."""
        return self.in_prose or "…" in self.text

    @property
    def program(self) -> str:
        """The program that the line calls."""
        return next(program for program in PROGRAMS if self.text == program or self.text.startswith(program + " "))

    @property
    def arguments(self) -> list[str]:
        """The words after the program, without a shell's comments and whatever follows ``&&``, ``|`` or ``>``."""
        lexer = shlex.shlex(self.text.removeprefix(self.program), posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split, lexer.commenters = True, ""
        words: list[str] = []
        for word in lexer:
            if word.startswith("#") or set(word) <= set("&|;<>"):
                break
            words.append(word)
        return words


@cache
def name(path: Path) -> str:
    """A path as the repository has it."""
    return path.relative_to(REPOSITORY).as_posix()


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of the pages in one of the languages."""
    found = []
    for page in PAGES:
        for match in _FENCE.finditer(page.read_text()):
            language, _, rest = match["info"].strip().partition(" ")
            title = re.search(r'title="([^"]*)"', rest)
            if language in languages:
                found.append(Block(page, language, title[1] if title else "", match["text"]))
    return found


def shell_lines(text: str) -> Iterator[str]:
    """Lines of a shell script, continued lines joined."""
    yield from re.sub(r"\\\n\s*", " ", text).splitlines()


def command_lines() -> list[CommandLine]:
    """Every line of pages, configuration files and the Makefile that calls this program."""
    lines: list[CommandLine] = []
    for block in blocks("sh", "bash", "console"):
        lines += _calls(name(block.page), shell_lines(block.text))
    for page in PAGES:
        lines += [CommandLine(name(page), match, in_prose=True) for match in _INLINE.findall(page.read_text())]
    for pattern in ("configs/*.yaml", "search_spaces/*.yaml", "cluster/*.yaml"):
        for path in sorted(REPOSITORY.glob(pattern)):
            comments = (line.strip().removeprefix("#").strip() for line in path.read_text().splitlines() if "#" in line)
            lines += _calls(name(path), (line for line in comments if line.startswith(PROGRAMS)))
    lines += _calls("Makefile", shell_lines((REPOSITORY / "Makefile").read_text().replace("$(BIN)/", "")))
    return lines


def _calls(source: str, lines: Iterator[str]) -> Iterator[CommandLine]:
    start = re.compile(rf"(?:^|[\s;(])({'|'.join(map(re.escape, PROGRAMS))})(?=\s|$)")
    for line in lines:
        uncommented = re.sub(r"(^|\s)#.*$", "", line)
        if match := start.search(uncommented):
            yield CommandLine(source, line[match.start(1) :].strip())
