"""Reproduce a table of the paper: train its rows as a study, evaluate each once on each test split, and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.data.shards import Manifest, read_manifest
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predictions import Predictions
from rcn_search.leaderboard.location import require_leaderboard
from rcn_search.leaderboard.published import PublishedRow
from rcn_search.reproduce.convergence import convergence_table
from rcn_search.reproduce.paper_tables import STUDY_FILES, TABLES, PaperTable, Subset, TableName
from rcn_search.reproduce.reproduction import Reproduction
from rcn_search.reproduce.result_table import result_table
from rcn_search.reproduce.test_scores import Candidate, Target, TestScores, find_targets
from rcn_search.reproduce.text_table import TextTable
from rcn_search.search.open_or_resume import STUDIES, StudyRequest
from rcn_search.search.run_search import run_search
from rcn_search.storage.preflight import preflight
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import study_exists
from rcn_search.study.study import Study


@dataclass(frozen=True, kw_only=True)
class ReproductionRequest:
    """The table to reproduce, and what differs from its study file.

    Attributes:
        study_file: Study file of its rows; by default the one that comes with the package.
        epochs: Epochs of each row, in place of ``budget.epochs``.
        data_uri: Data set, in place of ``base.data.uri``.
        afw_uri: Another data set whose test splits are evaluated, too.
        study_uri: Folder or URI of the study; by default ``studies/TABLE``, with the epochs where they are given.
    """

    table: TableName
    study_file: str = ""
    overrides: Sequence[str] = ()
    epochs: int | None = None
    data_uri: str = ""
    afw_uri: str = ""
    study_uri: str = ""


def train_table(request: ReproductionRequest, *, leaderboard: str | None, console: Console) -> Reproduction:
    """Train the rows of a table that are not trained yet; data sets and leaderboard are checked before.

    Raises:
        KeyboardInterrupt: Ctrl-C; the same call resumes.
    """
    plan = _plan(request)
    preflight(require_leaderboard(leaderboard))
    try:
        study = run_search(plan.study_request, console=console).study
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command resumes {plan.study_request.study_uri}") from None
    return plan.reproduction(study)


def open_table(request: ReproductionRequest) -> Reproduction:
    """Open the study of a table as it is, without training anything.

    Raises:
        RcnSearchError: There is no study.
    """
    plan = _plan(request)
    uri = plan.study_request.study_uri
    if not plan.study_request.resume:
        raise RcnSearchError(f"no study at {uri}; leave out --report-only to start it, or name another with --study")
    Study.check(uri, plan.config, plan.manifests[0].fingerprint)
    return plan.reproduction(Study(uri, plan.config))


def compare_with_paper(
    reproduction: Reproduction,
    *,
    leaderboard: str | None,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> TextTable:
    """Evaluate what is trained and not evaluated yet, and compare with the paper.

    Without a leaderboard only evaluations that were made before are compared.
    """
    scores, is_convergence = TestScores(reproduction.study.uri), reproduction.table is TABLES["convergence"]

    def predictions_of(candidate: Candidate, target: Target) -> Predictions | None:
        if leaderboard is None:
            return scores.load(candidate, target)
        # The epochs of a curve are counted as test evaluations, but are no entries.
        return scores.evaluate_once(
            candidate, target, leaderboard=leaderboard, submit=not is_convergence, on_images=on_images
        )

    return (convergence_table if is_convergence else result_table)(reproduction, predictions_of)


class _Plan(NamedTuple):
    table: PaperTable
    study_request: StudyRequest
    config: StudyConfig
    published: list[PublishedRow]
    targets: list[Target]
    manifests: list[Manifest]

    def reproduction(self, study: Study) -> Reproduction:
        return Reproduction(
            table=self.table, published=self.published, study=study, targets=self.targets, manifests=self.manifests
        )


def _plan(request: ReproductionRequest) -> _Plan:
    """Read everything that a request names, so that mistakes show before anything is trained."""
    table = TABLES[request.table]
    name = f"{request.table}-{request.epochs}-epochs" if request.epochs else request.table
    uri = storage.absolute(request.study_uri or storage.join(STUDIES, name))
    study_request = StudyRequest(
        study_file=request.study_file or str(STUDY_FILES / f"{request.table}.yaml"),
        overrides=[*request.overrides, *([f"budget.epochs={request.epochs}"] if request.epochs else [])],
        study_uri=uri,
        resume=study_exists(uri),
        data_uri=request.data_uri,
    )
    config = load_study_config(study_request.study_file, overrides=study_request.overrides, data_uri=request.data_uri)
    if not config.runs:
        raise ConfigError(f"{study_request.study_file} has no runs: it is a search, for rcn-search tune")
    data = config.base_config.data
    data_uris = [data.uri, *([storage.absolute(request.afw_uri)] if request.afw_uri else [])]
    manifests = [read_manifest(data_uri) for data_uri in data_uris]
    if len({manifest.keypoints for manifest in manifests}) > 1:
        both = " and ".join(f"{uri} ({manifest.keypoints})" for uri, manifest in zip(data_uris, manifests, strict=True))
        raise RcnSearchError(f"the data sets have different keypoints: {both}")
    published = table.published([*config.runs, *config.joint_models])
    targets = find_targets(data_uris, {Subset(row.dataset, row.subset) for row in published}, data.val_split)
    return _Plan(table, study_request, config, published, targets, manifests)
