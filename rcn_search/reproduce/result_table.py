"""Paper and ours, row by row: the errors, their difference with its interval, and how far they can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rcn_search.evaluation.protocol import named_protocol
from rcn_search.leaderboard.published import PublishedRow
from rcn_search.reproduce.paired_comparison import RowErrors, check_claim, row_errors
from rcn_search.reproduce.paper_tables import PAPER_TEST_IMAGES, Subset
from rcn_search.reproduce.reproduction import Reproduction
from rcn_search.reproduce.test_scores import PredictionSource
from rcn_search.reproduce.text_table import TextTable

COLUMNS = ("method", "images", "paper %", "ours %", "difference", "95 % interval", "seeds", "notes")


class Benchmark(NamedTuple):
    """Images and protocol by which errors can be compared."""

    subset: Subset
    protocol: str
    keypoints: str

    def __str__(self) -> str:
        """Name in tables, as in ``300w/full, 49 points``."""
        return f"{self.subset}{', 49 points' if self.protocol == 'rcn2016-49' else ''}"


Results = dict[Benchmark, dict[str, RowErrors]]
"""Errors of our rows, by benchmark and row."""


def result_table(reproduction: Reproduction, predictions_of: PredictionSource) -> TextTable:
    """Make the table of all errors."""
    config = reproduction.study.config
    rows = [row for row in config.runs if not reproduction.is_denoiser(row)] + list(config.joint_models)
    results = _measure(reproduction, predictions_of, rows)
    ours = [
        _table_row(reproduction, row, benchmark, measured.get(row))
        for benchmark, measured in results.items()
        for row in rows
    ]
    return TextTable(
        title=f"{reproduction.table.title}: the paper, and {config.budget.epochs} epochs here; errors in %",
        columns=COLUMNS,
        rows=(*ours, *_paper_only_rows(reproduction, rows)),
        remarks=(
            *_missing_subsets(reproduction),
            *reproduction.data_remarks(),
            *(
                f"{benchmark}: {verdict}"
                for benchmark, measured in results.items()
                for verdict in _verdicts(reproduction, benchmark, measured, rows)
            ),
        ),
        text_columns=("method", "images", "notes"),
    )


def _measure(reproduction: Reproduction, predictions_of: PredictionSource, rows: list[str]) -> Results:
    rules = dict.fromkeys((row.protocol, row.keypoints) for row in reproduction.published if row.protocol)
    results: Results = {
        Benchmark(target.subset, protocol, keypoints): {}
        for target in reproduction.targets
        for protocol, keypoints in rules
        if protocol is not None
    }
    for row in rows:
        for target in reproduction.targets:
            predictions = [predictions_of(candidate, target) for candidate in reproduction.candidates(row)]
            present = [of_seed for of_seed in predictions if of_seed is not None]
            for benchmark, measured in results.items():
                if present and benchmark.subset == target.subset:
                    protocol = named_protocol(benchmark.protocol, *benchmark.subset, benchmark.keypoints)
                    measured[row] = row_errors(present, protocol)
    return results


def _table_row(
    reproduction: Reproduction, row: str, benchmark: Benchmark, measured: RowErrors | None
) -> tuple[str, ...]:
    paper_pct = _paper_errors_pct(reproduction, benchmark).get(reproduction.table.published_name(row))
    difference = interval = ""
    if measured is not None and paper_pct is not None:
        gap = measured.minus(paper_pct)
        difference = f"{gap.mean:+.2f}"
        interval = f"{gap.interval[0]:+.2f} to {gap.interval[1]:+.2f}" if gap.interval else ""
    num_scored, num_seeds = len(measured.error_pct_sn) if measured else 0, reproduction.num_seeds(row)
    notes = [
        *_training_notes(reproduction, row, num_scored),
        *_image_notes(benchmark, measured, has_paper=paper_pct is not None),
    ]
    return (
        row,
        str(benchmark),
        "" if paper_pct is None else f"{paper_pct:.2f}",
        "" if measured is None else f"{measured.error_pct:.2f}",
        difference,
        interval,
        str(num_scored) if num_scored == num_seeds else f"{num_scored} of {num_seeds}",
        "; ".join(notes),
    )


def _paper_errors_pct(reproduction: Reproduction, benchmark: Benchmark) -> dict[str, float]:
    """Errors of the paper, by published method."""
    wanted = (benchmark.subset, benchmark.protocol)
    rows = [row for row in reproduction.published if (_subset_of(row), row.protocol) == wanted]
    return {row.method: row.error_pct for row in rows}


def _verdicts(
    reproduction: Reproduction, benchmark: Benchmark, measured: dict[str, RowErrors], rows: list[str]
) -> Iterator[str]:
    """Check the paper's claims about rows that the study has."""
    by_method = _paper_errors_pct(reproduction, benchmark)
    published = {row: reproduction.table.published_name(row) for row in rows}
    paper_pct = {row: by_method[name] for row, name in published.items() if name in by_method}
    for claim in reproduction.table.claims:
        if {*claim.lower, *claim.higher} <= {*rows}:
            yield check_claim(claim, measured, paper_pct)


def _training_notes(reproduction: Reproduction, row: str, num_scored: int) -> Iterator[str]:
    """Say what is not trained, not scored, or trained for fewer epochs than in the paper."""
    config = reproduction.study.config
    if num_scored < len(reproduction.candidates(row)):
        yield "trained, not scored yet"
    for part in config.joint_models.get(row, (row,)):
        prefix = "" if part == row else f"{part}: "
        trials = reproduction.trials_of(part)
        for trial in trials:
            if trial.result and trial.result.state == "failed":
                yield f"{prefix}failed: {trial.result.reason}"
        if reproduction.num_seeds(part) > sum(trial.result is not None for trial in trials):
            yield f"{prefix}not finished"
        if part in reproduction.table.epochs:
            yield f"{prefix}{config.budget.epochs} epochs, the public command {reproduction.table.epochs[part]:,}"


def _image_notes(benchmark: Benchmark, measured: RowErrors | None, *, has_paper: bool) -> Iterator[str]:
    """Say how the images differ from the paper's, and what the mean does not show."""
    if measured is None:
        return
    if len(measured.seed_errors_pct) > 1:
        yield "seeds " + ", ".join(f"{error:.2f}" for error in measured.seed_errors_pct)
    num_images, paper = len(measured.image_id_n), PAPER_TEST_IMAGES.get(benchmark.subset)
    if paper is not None and paper != num_images:
        yield f"{num_images:,} test images, the paper {paper:,}"
    if not has_paper and (interval := measured.minus(0.0).interval):
        yield f"interval of ours {interval[0]:.2f} to {interval[1]:.2f}"
    for reason, count in measured.excluded.items():
        yield f"{count:,} images excluded: {reason}"


def _paper_only_rows(reproduction: Reproduction, rows: list[str]) -> Iterator[tuple[str, ...]]:
    """List published rows without one of ours: methods that the paper cites, or all if none of its images is here."""
    subsets = {target.subset for target in reproduction.targets}
    any_subset = any(_subset_of(row) in subsets for row in reproduction.published)
    ours = {reproduction.table.published_name(row) for row in rows}
    for row in reproduction.published:
        has_images = _subset_of(row) in subsets
        if (row.method in ours and has_images) or (any_subset and not has_images):
            continue
        benchmark = Benchmark(_subset_of(row), row.protocol or "", row.keypoints)
        note = "no data set given here has these images" if row.method in ours else row.note
        yield row.method, str(benchmark), f"{row.error_pct:.2f}", "", "", "", "", note


def _missing_subsets(reproduction: Reproduction) -> Iterator[str]:
    subsets = {target.subset for target in reproduction.targets}
    missing = [_subset_of(row) for row in reproduction.published if _subset_of(row) not in subsets]
    if missing:
        yield f"not measured, because no data set given here has them: {', '.join(dict.fromkeys(map(str, missing)))}"


def _subset_of(row: PublishedRow) -> Subset:
    return Subset(row.dataset, row.subset)
