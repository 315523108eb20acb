"""Opening of the study that a search runs: start it, resume it, extend it, or warm-start it from another study."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console

from rcn_search import storage
from rcn_search.cluster.ray_job import check_job_options, check_outlives_job, check_travels_with_job
from rcn_search.config.errors import ConfigError
from rcn_search.data.shards import Manifest, read_manifest
from rcn_search.errors import RcnSearchError, list_first
from rcn_search.leaderboard.location import require_leaderboard
from rcn_search.leaderboard.test_evaluations import check_recordable
from rcn_search.search.custom_networks import allow_networks, check_networks
from rcn_search.search.start_weights import with_start_weights
from rcn_search.search.test_evaluation import TEST_RESULT_NAME
from rcn_search.storage.preflight import preflight
from rcn_search.study.loading import load_study_config
from rcn_search.study.prior import make_prior
from rcn_search.study.records import StudyError
from rcn_search.study.samplers import check_sampler
from rcn_search.study.samplers.target import check_target
from rcn_search.study.space.sections import CallbackOptions
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.stopping import check_stop
from rcn_search.study.store import study_exists
from rcn_search.study.study import Study
from rcn_search.study.warm_start import warm_start_study
from rcn_search.study_report.status import prior_lines
from rcn_search.training.preconditions import check_splits

STUDIES = "studies"
"""Folder of studies whose location is not given."""


class OpenedStudy(NamedTuple):
    """A study that is ready to run."""

    uri: str
    config: StudyConfig
    manifest: Manifest
    """Manifest of the study's data set."""


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """The study to run, as the command line names it.

    Attributes:
        study_file: Path or URI of the study file (see `rcn_search.study.space.study_config`).
        overrides: ``key.path=value`` settings laid over the study file.
        study_uri: Folder or URI of the study; ``studies/NAME`` by default.
        resume: Resume the existing study.
        auto_resume: Resume the study if it exists, else start it; if the process that ran it may be dead, wait until
            its lease has expired. A Ray job does so, because it is submitted again with the same command.
        trials: New number of trials in all, in place of ``budget.trials``.
        add_trials: Number of trials to add to a study whose trials have all ended.
        warm_start_from: Folder or URI of another study. The new study takes over those of its ended trials that fit.
        prior: Folders or URIs of studies of other data sets or spaces, from which a new study knows what is good.
        deterministic: Run repeatably, in batches of ``study.trial_batch_size`` trials, by default of
            ``budget.max_concurrent``.
        data_uri: Data set, in place of ``base.data.uri``.
    """

    study_file: str
    overrides: Sequence[str] = ()
    study_uri: str = ""
    resume: bool = False
    auto_resume: bool = False
    trials: int | None = None
    add_trials: int | None = None
    warm_start_from: str = ""
    prior: Sequence[str] = ()
    deterministic: bool = False
    data_uri: str = ""

    @property
    def resuming_command(self) -> str:
        """The command that resumes the study, as a change of the one that this request comes from."""
        if self.add_trials:  # the study has them by now
            return "the same command without --add-trials"
        return "the same command" if self.resume or self.auto_resume else "the same command with --resume"


def open_or_resume(request: StudyRequest, *, leaderboard: str | None, console: Console) -> OpenedStudy:
    """Check everything that can be checked before a search, and publish the study if it is new.

    A test evaluation that is still to be made needs a leaderboard. The errors are listed at `run_search`.
    """
    config = _load(request)
    check_job_options(config.base_config.data.uri, request.study_uri)
    allow_networks(config)
    manifest = check_dataset(config)
    check_networks(config, manifest.keypoint_schema.num_points)
    _check_sampler_target(config, console)
    config = with_start_weights(config, manifest.keypoint_schema, console)
    uri = storage.absolute(request.study_uri or storage.join(STUDIES, config.study.name))
    check_outlives_job(uri, "--study")
    preflight(uri)
    if config.test and not storage.exists(storage.join(uri, TEST_RESULT_NAME)):
        # All that the evaluation needs is checked now, and not after hours of training.
        dataset, subset = manifest.dataset_and_subset(config.test.split)
        check_recordable(dataset=dataset, subset=subset, method=config.test.method)
        preflight(require_leaderboard(leaderboard))
    if request.resume or (request.auto_resume and study_exists(uri)):
        Study.check(uri, config, manifest.fingerprint)
        existing = Study.open(uri)
        if existing.problems:
            raise StudyError(f"{uri} cannot be resumed: {list_first(existing.problems, chr(10))}")
        return OpenedStudy(uri, _extend(existing, config, request), manifest)
    if request.add_trials:
        raise ConfigError(f"--add-trials {request.add_trials} extends an existing study: add --resume")
    if request.trials:
        config = _with_trials(config, request.trials)
    if request.warm_start_from and request.prior:
        raise ConfigError("--warm-start-from takes over trials, --prior what was good elsewhere: give one of them")
    if request.warm_start_from:
        _warm_start(uri, config, manifest, request, console)
    else:
        prior = make_prior(request.prior, config) if request.prior else None
        for line in prior_lines(Study.start(uri, config, manifest.fingerprint, prior)):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    return OpenedStudy(uri, config, manifest)


def check_dataset(config: StudyConfig) -> Manifest:
    """Return the manifest of the study's data set; ConfigError if a split or rows that the study uses are missing."""
    data = config.base_config.data
    check_travels_with_job(data.uri)
    manifest = read_manifest(data.uri)
    wanted = {
        "base.data.train_split": (data.train_split, data.num_train),
        "base.data.val_split": (data.val_split, data.num_val),
    }
    if config.test:
        wanted["test.split"] = (config.test.split, None)
    for key, (split, num_rows) in wanted.items():
        if split not in manifest.split_names:
            raise ConfigError(f"{key}: {data.uri} has no split {split!r}; it has: {', '.join(manifest.split_names)}")
        if num_rows is not None and num_rows > manifest.num_rows(split):
            raise ConfigError(f"{key}: {num_rows:,} rows of {split!r} wanted; it has {manifest.num_rows(split):,}")
    check_splits(data, manifest)
    return manifest


def _check_sampler_target(config: StudyConfig, console: Console) -> None:
    try:
        problem = check_target(config)
    except RcnSearchError as error:
        raise ConfigError(f"sampler: {error}") from error
    if problem:
        console.print(
            f"sampler: {problem}; if the search is interrupted, it proposes other settings than without the "
            "interruption",
            style="yellow",
            markup=False,
        )


def check_callback_packages(options: CallbackOptions) -> None:
    """Check that the packages of the callbacks that a study file asks for are installed; RcnSearchError if not."""
    names = {"mlflow": "MLflow", "wandb": "Weights & Biases"}
    for package, name in names.items():
        if getattr(options, package) and importlib.util.find_spec(package) is None:
            raise RcnSearchError(f"callbacks.{package}: {name} is not installed: pip install 'rcn-search[{package}]'")


def _load(request: StudyRequest) -> StudyConfig:
    config = load_study_config(request.study_file, overrides=request.overrides, data_uri=request.data_uri)
    check_callback_packages(config.callbacks)
    if request.trials and request.add_trials:
        raise ConfigError("--trials is the new number of all trials, --add-trials a number to add: give one of them")
    if config.runs and (request.trials or request.add_trials):
        raise ConfigError(
            "--trials and --add-trials extend a search; fixed runs are added in the study file, under runs"
        )
    if not request.deterministic or config.study.trial_batch_size is not None:
        return config
    size = config.budget.max_concurrent
    if size == "auto":
        raise ConfigError(
            "--deterministic needs a fixed batch size: set budget.max_concurrent to a number, as in "
            "--set budget.max_concurrent=4; that many trials are drawn at once on every cluster"
        )
    overrides = [*request.overrides, f"study.trial_batch_size={size}"]
    return load_study_config(request.study_file, overrides=overrides, data_uri=request.data_uri)


def _warm_start(uri: str, config: StudyConfig, manifest: Manifest, request: StudyRequest, console: Console) -> None:
    parent = storage.absolute(request.warm_start_from)
    if config.runs:
        raise ConfigError("--warm-start-from: a fixed-run study has no search to warm-start; start a new study")
    if parent.rstrip("/") == uri.rstrip("/"):
        raise ConfigError(f"--warm-start-from {parent}: the new study needs another location; name it with --study NEW")
    num_taken, num_left_out, problems = warm_start_study(parent, uri, config, manifest.fingerprint)
    console.print(
        f"warm start: {num_taken} trials of {parent} taken over, {num_left_out} do not fit",
        soft_wrap=True,
        markup=False,
    )
    if problems:
        console.print(f"left out: {list_first(problems, chr(10))}", style="yellow", soft_wrap=True, markup=False)


def _extend(existing: Study, config: StudyConfig, request: StudyRequest) -> StudyConfig:
    """Apply the number of trials that is asked for; a study that was extended before stays extended."""
    before = existing.config.budget.trials
    if existing.stop and existing.stop.rule == config.stop and (request.add_trials or request.trials):
        raise StudyError(
            f"{existing.uri} has stopped: {existing.stop.reason}. To run more trials, change the rule or remove it, as "
            "in --set stop=null"
        )
    if request.add_trials:
        if existing.num_remaining or before is None:
            raise StudyError(
                f"--add-trials {request.add_trials}: {existing.num_remaining} of the study's {before} trials have not "
                "ended; leave out --add-trials to run them, or give the new number of all trials with --trials"
            )
        return _with_trials(config, before + request.add_trials)
    if request.trials:
        return _with_trials(config, request.trials)
    is_overridden = any(override.startswith("budget.trials=") for override in request.overrides)
    if is_overridden or before is None or config.budget.trials is None or before <= config.budget.trials:
        return config
    return _with_trials(config, before)


def _with_trials(config: StudyConfig, num_trials: int) -> StudyConfig:
    changed = config.with_trials(num_trials)
    try:
        check_sampler(changed)
    except ValueError as error:
        raise ConfigError(f"{num_trials} trials: sampler {config.sampler.name}: {error}") from None
    try:
        check_stop(changed)
    except ValueError as error:
        raise ConfigError(f"{num_trials} trials: stop: {error}") from None
    return changed
