"""Paper against ours, row by row: the errors, their difference with its interval, and how far both can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rcn_search.evaluation.protocol import named_protocol
from rcn_search.leaderboard.published import PublishedRow
from rcn_search.reproduce.paired_comparison import Measured, judge, measure
from rcn_search.reproduce.paper_tables import PAPER_TEST_IMAGES, Place
from rcn_search.reproduce.reproduction import Rerun
from rcn_search.reproduce.test_scores import Look
from rcn_search.reproduce.text_table import Sheet

COLUMNS = ("method", "images", "paper %", "ours %", "difference", "95 % interval", "seeds", "notes")


class Measure(NamedTuple):
    """On what and by which protocol errors can be compared."""

    place: Place
    protocol: str
    keypoints: str

    def __str__(self) -> str:
        """For people: ``300w/full, 49 points``."""
        return "/".join(self.place) + (", 49 points" if self.protocol == "rcn2016-49" else "")


def table_sheet(rerun: Rerun, look: Look) -> Sheet:
    """The results of a table.

    Raises:
        ValueError: See `Scores.take`.
    """
    space = rerun.study.config
    rows = [
        row for row in (*space.runs, *space.joint_models) if row in space.joint_models or not rerun.is_denoiser(row)
    ]
    rules = dict.fromkeys((each.protocol, each.keypoints) for each in rerun.published if each.protocol)
    by_measure: dict[Measure, dict[str, Measured]] = {
        Measure(target.place, protocol, keypoints): {}
        for target in rerun.targets
        for protocol, keypoints in rules
        if protocol is not None
    }
    for row in rows:
        for target in rerun.targets:
            found = [each for candidate in rerun.candidates(row) if (each := look(candidate, target)) is not None]
            for by in by_measure if found else ():
                if by.place == target.place:
                    by_measure[by][row] = measure(found, named_protocol(by.protocol, *by.place, by.keypoints))
    lines = [_line(rerun, row, by, measured.get(row)) for by, measured in by_measure.items() for row in rows]
    return Sheet(
        title=f"{rerun.table.title}: the paper, and {space.budget.epochs} epochs here; errors in %",
        columns=COLUMNS,
        rows=(*lines, *_papers_only(rerun, rows)),
        remarks=(
            *_not_measured(rerun),
            *rerun.remarks(),
            *(f"{by}: {verdict}" for by, there in by_measure.items() for verdict in _verdicts(rerun, by, there, rows)),
        ),
        wide=("method", "images", "notes"),
    )


def _line(rerun: Rerun, row: str, by: Measure, measured: Measured | None) -> tuple[str, ...]:
    """One row of ours, and what the paper has for it."""
    paper_pct = _papers(rerun, by).get(rerun.table.published_name(row))
    difference = interval = ""
    if measured is not None and paper_pct is not None:
        gap = measured.minus(paper_pct)
        difference = f"{gap.mean:+.2f}"
        interval = f"{gap.interval[0]:+.2f} to {gap.interval[1]:+.2f}" if gap.interval else ""
    num_seeds, wanted = len(measured.error_pct_sn) if measured else 0, rerun.num_seeds(row)
    return (
        row,
        str(by),
        "" if paper_pct is None else f"{paper_pct:.2f}",
        "" if measured is None else f"{measured.error_pct:.2f}",
        difference,
        interval,
        str(num_seeds) if num_seeds == wanted else f"{num_seeds} of {wanted}",
        "; ".join([*_training_notes(rerun, row, num_seeds), *_image_notes(by, measured, paper_pct is not None)]),
    )


def _papers(rerun: Rerun, by: Measure) -> dict[str, float]:
    """The paper's errors, by method."""
    rows = [each for each in rerun.published if (_place(each), each.protocol) == (by.place, by.protocol)]
    return {each.method: each.error_pct for each in rows}


def _verdicts(rerun: Rerun, by: Measure, measured: dict[str, Measured], rows: list[str]) -> Iterator[str]:
    """The paper's orderings, of rows that the study has."""
    papers = _papers(rerun, by)
    papers_pct = {row: papers[name] for row in rows if (name := rerun.table.published_name(row)) in papers}
    for claim in rerun.table.claims:
        if {*claim.lower, *claim.higher} <= {*rows}:
            yield judge(claim, measured, papers_pct)


def _training_notes(rerun: Rerun, row: str, num_scored: int) -> Iterator[str]:
    """What is not trained, not scored, or trained for less than the paper's was."""
    space = rerun.study.config
    if num_scored < len(rerun.candidates(row)):
        yield "trained, not scored yet"
    for part in space.joint_models.get(row, (row,)):
        of = "" if part == row else f"{part}: "
        trials = rerun.trials_of(part)
        for trial in trials:
            if trial.result and trial.result.state == "failed":
                yield f"{of}failed: {trial.result.reason}"
        if rerun.num_seeds(part) > sum(trial.result is not None for trial in trials):
            yield f"{of}not finished"
        if part in rerun.table.epochs:
            yield f"{of}{space.budget.epochs} epochs, the public command {rerun.table.epochs[part]:,}"


def _image_notes(by: Measure, measured: Measured | None, has_paper: bool) -> Iterator[str]:
    """How the images differ from the paper's, and what the mean hides."""
    if measured is None:
        return
    if len(measured.seed_errors_pct) > 1:
        yield "seeds " + ", ".join(f"{error:.2f}" for error in measured.seed_errors_pct)
    num_images, papers = len(measured.image_id_n), PAPER_TEST_IMAGES.get(by.place)
    if papers is not None and papers != num_images:
        yield f"{num_images:,} test images, the paper {papers:,}"
    if not has_paper and (own := measured.minus(0.0).interval):
        yield f"interval of ours {own[0]:.2f} to {own[1]:.2f}"
    for reason, count in measured.excluded.items():
        yield f"{count:,} images excluded: {reason}"


def _papers_only(rerun: Rerun, rows: list[str]) -> Iterator[tuple[str, ...]]:
    """Published rows with nothing of ours beside: methods the paper cites, or all if none of its images is here."""
    here = {target.place for target in rerun.targets}
    some_here = any(_place(each) in here for each in rerun.published)
    ours = {rerun.table.published_name(row) for row in rows}
    for each in rerun.published:
        beside_ours = each.method in ours and _place(each) in here
        if not beside_ours and (_place(each) in here or not some_here):
            by = Measure(_place(each), each.protocol or "", each.keypoints)
            note = "these images are not here" if each.method in ours else each.note
            yield each.method, str(by), f"{each.error_pct:.2f}", "", "", "", "", note


def _not_measured(rerun: Rerun) -> Iterator[str]:
    here = {target.place for target in rerun.targets}
    if missing := dict.fromkeys("/".join(_place(each)) for each in rerun.published if _place(each) not in here):
        yield f"not measured, as no data set given here has it whole: {', '.join(missing)}"


def _place(published: PublishedRow) -> Place:
    return published.dataset, published.subset
