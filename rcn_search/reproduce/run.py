"""A table of the paper, re-run: its rows as a study, each scored once on each test split, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.data.shards import read_manifest
from rcn_search.evaluation.predictions import Predictions
from rcn_search.reproduce.convergence import convergence_sheet
from rcn_search.reproduce.paper_tables import SPACES, TABLES, TableName
from rcn_search.reproduce.reproduction import Rerun
from rcn_search.reproduce.result_table import table_sheet
from rcn_search.reproduce.test_scores import Candidate, Scores, Target, find_targets
from rcn_search.reproduce.text_table import Sheet
from rcn_search.search.open_or_resume import STUDIES, StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.study.loading import load_study_config
from rcn_search.study.store import study_exists
from rcn_search.study.study import Study


def train_rows(
    name: TableName,
    *,
    space_uri: str = "",
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    data_uri: str = "",
    afw_uri: str = "",
    study_uri: str = "",
    board: Callable[[], str],
    console: Console,
    run: bool = True,
) -> Rerun:
    """Train the rows of a table that are not trained yet.

    Args:
        name: Which table.
        space_uri: Its study file; by default that of the source tree.
        overrides: ``key.path=value`` laid over it.
        epochs: Of each row, instead of ``budget.epochs``.
        data_uri: Data set, instead of ``base.data.uri``.
        afw_uri: Another data set whose test splits are scored too.
        study_uri: Folder of the study; by default ``studies/NAME``, with the epochs where they are given.
        board: Gives the board's URI.
        console: Where the run prints.
        run: Without it nothing is trained: what is there is only opened.

    Raises:
        ConfigError: The study file is wrong.
        DatasetError: A data set is missing or damaged.
        StudyError: There is another study at ``study_uri``, or the search cannot go on.
        ValueError: See `run_search`; or the two data sets have other points.
        KeyboardInterrupt: Ctrl-C; the same call goes on.
    """
    table = TABLES[name]
    space_uri = space_uri or str(SPACES / f"{name}.yaml")
    overrides = [*overrides, *([f"budget.epochs={epochs}"] if epochs else [])]
    uri = storage.absolute(study_uri or storage.join(STUDIES, f"{name}-{epochs}-epochs" if epochs else name))
    space = load_study_config(space_uri, overrides=overrides, data_uri=data_uri)
    if not space.runs:
        raise ConfigError(f"{space_uri} has no rows: it is a search, for rcn-search tune")
    data = space.train_config({}).data
    data_uris = [data.uri, *([storage.absolute(afw_uri)] if afw_uri else [])]
    manifests = [read_manifest(each) for each in data_uris]
    for manifest in manifests[1:]:
        if manifest.keypoints != manifests[0].keypoints:
            raise ValueError(f"{afw_uri} has {manifest.keypoints!r} points, {data.uri} {manifests[0].keypoints!r}")
    published = table.published([*space.runs, *space.joint_models])
    targets = find_targets(data_uris, {(row.dataset, row.subset) for row in published}, data.val_split)
    started = study_exists(uri)
    if not run and not started:
        raise ValueError(f"nothing is there to show at {uri}; leave out --show, or name the place with --study")
    if run:
        storage.preflight(board())  # a missing board is said now, not after the training
        try:
            request = StudyRequest(
                study_file=space_uri, overrides=overrides, study_uri=uri, resume=started, data_uri=data_uri
            )
            study = run_search(request, console=console).study
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; the same line goes on with {uri}") from None
    else:
        study = Study.resume(uri, space, data_fingerprint=manifests[0].fingerprint)
    return Rerun(table=table, published=published, study=study, targets=targets, manifests=manifests)


def compare(
    rerun: Rerun,
    *,
    board: Callable[[], str] | None,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> Sheet:
    """Score what is trained and not scored yet, and compare with the paper.

    Args:
        rerun: What was trained.
        board: Gives the board's URI; without a board nothing is scored that is not scored yet.
        on_images: Called with (images done, images in all) of each score.

    Raises:
        ValueError: See `Scores.take`.
    """
    scores, is_convergence = Scores(rerun.study.uri), rerun.table is TABLES["convergence"]

    def look(candidate: Candidate, target: Target) -> Predictions | None:
        if board is None:
            return scores.find(candidate, target)
        # Of a curve only the looks are counted: early epochs are no entries.
        return scores.take(candidate, target, board=board, enter=not is_convergence, on_images=on_images)

    return convergence_sheet(rerun, look) if is_convergence else table_sheet(rerun, look)
