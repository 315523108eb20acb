"""The words of docs/glossary.md are kept: nothing uses a word that is gone, or a British spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from rcn_search.cli.main import app
from tests.support.documents import PAGES, REPOSITORY, name

GLOSSARY = REPOSITORY / "docs" / "glossary.md"


class Gone(NamedTuple):
    """A pattern that must not occur, what to write instead, and in which files (all by default)."""

    pattern: str
    instead: str
    paths: str = ""


# Looked for in lower case, after CamelCase and snake_case are split into words.
WORDS = (
    Gone(r"\b(?:test|num|nine|one|each|every|counted|of) looks?\b|\blook number\b", "test evaluation"),
    Gone(r"\blooks? (?:at|of) (?:a|the|this) test\b", "test evaluation"),
    Gone(r"\bnine views\b|\bmulti view\b", "9-view test-time augmentation, multiview"),
    Gone(r"\bdrivers?\b", "search process"),
    Gone(
        r"\bclaim(?:s|ed|ing)?\b", "lease", r"rcn_search/(?:study|search|cluster|cli|simulation|study_report|doctor)/"
    ),
    Gone(r"\bbeat(?:s|en|ing)?\b|\bsigns? of life\b", "heartbeat"),
    Gone(r"\bstale(?:ness)?\b", "expired"),
    Gone(r"\bpatience\b", "wait, timeout"),
    Gone(r"\bcrews?\b", "worker group"),
    Gone(r"\bmates?\b", "worker"),
    Gone(r"\bdesks?\b", "status channel"),
    Gone(r"\bnews\b", "message"),
    Gone(r"\b(?:take|takes|taken|took|taking) up\b|\btakeup\b", "resume, open"),
    Gone(r"\b(?:go|goes|gone|went|going) on\b", "resume, continue"),
    Gone(r"\bstud(?:y|ies) of rows\b", "fixed-run study"),
    Gone(r"\bledgers?\b", "study store"),
    Gone(r"\btold (?:as|of|apart|again)\b|\b(?:is|are) told\b", "reported, message"),
    Gone(r"\byardsticks?\b", "baseline"),
    Gone(r"\bstandings?\b", "status, statistics"),
    Gone(r"\bforeign\b", "external"),
    Gone(r"(?<!tensor )\bboards?\b", "leaderboard"),
    Gone(r"\breplicates\b|\b(?:a|each|the) replicate\b", "replication run"),
    Gone(r"\bmirror(?:s|ed|ing)?\b", "flip"),
    Gone(r"\bknobs?\b", "option"),
    Gone(r"\bcrossed out\b", "the words that say what happens"),
)

# Looked for as they are written.
NAMES = (
    Gone(r"\bspace\.json\b", "study.json"),
    Gone(r"\bsuggested\.json\b", "trial.json"),
    Gone(r"\bfinished\.json\b", "result.json"),
    Gone(r"\binherited-", "warm_start-"),
    Gone(r"\b(?:taken|beat)\.json\b", "acquired.json, heartbeat.json"),
    Gone(r"\bfinal\.json\b|\bfinal/", "test_result.json, test/"),
    Gone(r"\blook\.json\b", "started.json"),
    Gone(r"\btest_looks\b", "test_evaluations"),
    Gone(r"--(?:go-on|enter|mirror|multi-view|shift|normaliser|colour|board|branch|cost|top)\b", "the new option"),
    Gone(r"--(?:decode|params|by|at|published|show)(?![\w-])", "the new option"),
    Gone(r"\bRCN_SEARCH_BOARD\b", "RCN_SEARCH_LEADERBOARD"),
    Gone(r"\bdata synth\b|\bspace check\b|\bstudy show\b|\bleaderboard html\b", "the new command"),
    Gone(r"\bmodel\.(?:kind|layers|weights|corrupted|stop_tasks_at)\b|\bstop_tasks_at\b", "the new key"),
    Gone(r"\bkind: (?:rcn|sumnet|tcdcn|denoiser)\b", "name: …"),
    Gone(r"\binput\.(?:colour|lcn)\b|\blcn\b", "input.contrast_normalization"),
    Gone(r"\bdata\.balance\b(?!_)", "data.balance_by"),
    Gone(r"\bloss\.(?:head|outside)\b", "loss.name, loss.points_outside"),
    Gone(r"\bl2_(?:trunk|branch)\b", "l2_encoder, l2_branches"),
    Gone(r"\bschedule\.(?:shape|warmup)\b(?!_)", "schedule.lr_schedule, warmup_fraction"),
    Gone(r"\bvalidation\.(?:jitter|every|keep)\b(?!_)", "validation.augment, every_epochs, save"),
    Gone(
        r"\bbudget\.concurrency\b|(?<!rcn_search\.)\bstudy\.synchronous\b",
        "budget.max_concurrent, study.trial_batch_size",
    ),
    Gone(r"(?<!num_)\bstartup_trials\b|(?<!perturbation_)\binterval_epochs\b", "num_startup_trials, …"),
    Gone(r"^(?:points|rows|seeds|joint|final|replicate):", "the new key", r"\.yaml$"),
    Gone(r"\b(?:rcn|design|house|speed|field|ray|practice)\.md\b", "a page of docs/, or the paper's section"),
)

BRITISH = re.compile(
    r"colour|behaviour|favour|neighbour|honour|\bgrey|centre(?!d_by)|\bmetre|licence|defence|judgement|artefact|catalogue"
    r"|programme\b|analys(?:e[sd]?|ing)\b|\bfulfil\b|\blearnt\b|\bspelt\b|whilst|(?:label|model|cancel|travel)l(?:ed|ing)\b"
    r"|(?:normal|optim|minim|maxim|initial|serial|local|general|organ|recogn|summar|penal|regular|visual|random|parametr"
    r"|quant|discret|standard|synchron|real|character|factor|categor|final|util|prior|special|emphas|token|vector)is"
    r"(?:e[sdr]?|ing|ation|able)\b",
    re.IGNORECASE,
)

# Where an old word is meant: path, and the part of a line that is allowed there. Nothing else may be added lightly.
ALLOWED = (
    (r"legacy\.py$", r".*"),  # upgrades old documents
    (r"^CHANGELOG\.md$", r".*"),  # old beside new
    (r"^docs/glossary\.md$", r"^\| .*\||ray's word|words that are gone"),
    (r"^docs/explanation/decisions\.md$", r"its driver"),  # Ray's
    (r"^docs/explanation/performance\.md$", r"and the driver for the node"),  # Ray's
    (r"^rcn_search/data/(?:shards|importers/\w+)\.py$", r"""["']licence["']|colour(?="|'|\.)"""),  # hashed
    (r"^rcn_search/doctor/gpu_checks\.py$", r"driver"),  # NVIDIA's
    (r"", r"\b_?OLD_[A-Z]|nvidia[- ]driver|gpu and driver|driver of the gpus|driver comes from the host|log_to_driver"),
)


def files() -> Iterator[Path]:
    """All that the glossary binds."""
    for folder, patterns in {
        "rcn_search": ("*.py", "*.html", "*.js", "*.css"),
        "benchmarks": ("*.py",),
        "search_spaces": ("*.yaml",),
        "configs": ("*.yaml",),
        "cluster": ("*.yaml", "Dockerfile"),
        "docs": ("*.py",),
    }.items():
        for pattern in patterns:
            yield from sorted((REPOSITORY / folder).rglob(pattern))
    yield from (REPOSITORY / "Makefile", *PAGES)


def split_words(line: str) -> str:
    """A line in lower case, with the words within identifiers apart."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", line).replace("_", " ").lower()


def uses(source: str, text: str) -> list[str]:
    """Every use of a word that is gone, as ``file:line: word (instead)``."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        candidates = [(gone, split_words(line)) for gone in WORDS] + [(gone, line) for gone in NAMES]
        for gone, searched in candidates:
            match = re.search(gone.pattern, searched)
            if match and re.search(gone.paths, source) and not is_allowed(source, line):
                found.append(f"{source}:{number}: {match[0]!r} (write: {gone.instead})")
        match = BRITISH.search(line)
        if match and not is_allowed(source, line):
            found.append(f"{source}:{number}: {match[0]!r} (British spelling)")
    return found


def is_allowed(source: str, line: str) -> bool:
    return any(re.search(path, source) and re.search(part, line, re.IGNORECASE) for path, part in ALLOWED)


def report(found: list[str]) -> str:
    return f"{len(found)} old words:\n" + "\n".join(found[:40]) + ("\n…" if len(found) > 40 else "")


@pytest.mark.parametrize(
    "area", sorted({name(path).rpartition("/")[0] or name(path) for path in files()}), ids=lambda area: area
)
def test_files_use_no_word_that_is_gone(area: str):
    paths = [path for path in files() if (name(path).rpartition("/")[0] or name(path)) == area]
    found = [use for path in paths for use in uses(name(path), path.read_text())]
    assert not found, report(found)


def test_file_names_use_no_word_that_is_gone():
    found = [use for path in files() for use in uses("a file's name", name(path).removeprefix("docs/glossary.md"))]
    assert not found, report(found)


def test_help_of_every_command_uses_no_word_that_is_gone():
    runner, found = CliRunner(), []
    todo: list[tuple[str, ...]] = [()]
    root = typer.main.get_command(app)
    while todo:
        path = todo.pop()
        command = root
        for word in path:
            command = command.commands[word]
        todo += [(*path, word) for word in getattr(command, "commands", {})]
        shown = runner.invoke(app, [*path, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert shown.exit_code == 0, shown.output
        found += uses(f"rcn-search {' '.join(path)} --help", shown.output)
    assert not found, report(found)


def test_words_of_the_glossary_that_are_gone_are_looked_for():
    """The second table of the glossary and the patterns above say the same."""
    table = GLOSSARY.read_text().partition("## Words that are gone")[2]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        if row == "British spellings":
            continue
        text = row.replace("`", "")
        words, names = split_words(text), text
        assert any(re.search(gone.pattern, words) for gone in WORDS) or any(
            re.search(gone.pattern, names) for gone in NAMES
        ), f"no pattern looks for {row}"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("class TestLook:", "test look"),
        ("heartbeat and keyboard and dashboard are words of today", None),
        ("the TensorBoard folder of a leaderboard", None),
        ("the driver died", "driver"),
        ("an NVIDIA driver", None),
        ("image_colour", "colour"),
        ("a study at work is taken up", "taken up"),
    ],
)
def test_patterns_find_old_words_and_leave_others(line: str, word: str | None):
    found = uses("rcn_search/study/a.py", line)
    assert [word in use for use in found] == ([True] if word else [])
