"""How a study is taken up: started, gone on with, extended, branched."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console

from rcn_search import storage
from rcn_search.cluster.ray_job import check_outlives_job
from rcn_search.config.loading import ConfigError
from rcn_search.data.shards import Manifest, read_manifest
from rcn_search.search.test_evaluation import TEST_RESULT_NAME
from rcn_search.study.loading import load_space
from rcn_search.study.records import StudyError
from rcn_search.study.space.study_config import SearchSpace
from rcn_search.study.study import Study
from rcn_search.study.warm_start import start_branch
from rcn_search.training.preconditions import check_splits

STUDIES = "studies"


class OpenedStudy(NamedTuple):
    """A study that can be driven."""

    uri: str
    space: SearchSpace
    manifest: Manifest
    """Of its data set."""


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """Which study is to be driven, as the command line has it.

    Attributes:
        space_uri: The study file (see `rcn_search.study.space.study_config`).
        overrides: ``key.path=value`` laid over it.
        study_uri: Folder of the study; by default ``studies/NAME``.
        resume: Go on with the study that is there.
        go_on: The same, where there is one; else start it. The line of a Ray job is the same each time.
        trials: ``80``: its budget from now on; ``+50``: so many more than it had, once they are all run.
        branch: Name of a child of the study, beside it, that takes over the trials that fit.
        deterministic: In rounds, repeatable: ``study.trial_batch_size`` is ``budget.max_concurrent`` where it is not said.
        data_uri: Data set, instead of ``base.data.uri``.
    """

    space_uri: str
    overrides: Sequence[str] = ()
    study_uri: str = ""
    resume: bool = False
    go_on: bool = False
    trials: str = ""
    branch: str = ""
    deterministic: bool = False
    data_uri: str = ""

    def prepare(self, console: Console, board: Callable[[], str]) -> OpenedStudy:
        """Check all there is to check; publish the study if it is new.

        Args:
            console: Where to say what a branch takes over.
            board: Gives the board's URI; asked if the best trial is still to be scored.

        Raises:
            ConfigError: The study file is wrong.
            DatasetError: The data set is missing or damaged.
            StudyError: There is a study already, or another one, or none to resume.
            StorageError: The study's or the board's place cannot be used.
        """
        space = self._load()
        manifest = checked_manifest(space)
        fingerprint = manifest.fingerprint
        uri = parent = storage.absolute(self.study_uri or storage.join(STUDIES, space.study.name))
        if self.branch:
            if space.runs:
                raise ConfigError("--branch: rows are no search; what has changed is another study, at another place")
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.branch):
                raise ConfigError(f"--branch {self.branch}: a name of letters, digits, '-', '_' and '.'")
            uri = storage.join(parent.rstrip("/").rpartition("/")[0], self.branch)
        check_outlives_job(uri, "--study")
        storage.preflight(uri)
        if space.test and not storage.exists(storage.join(uri, TEST_RESULT_NAME)):
            storage.preflight(board())
        if self.resume or (self.go_on and storage.exists(storage.join(uri, "space.json"))):
            Study.check(uri, space, fingerprint)
            return OpenedStudy(uri, self._extended(Study.open(uri), space), manifest)
        if self.trials:
            if self.trials.startswith("+"):
                raise ConfigError(f"--trials {self.trials}: add --resume to extend the study that is there")
            space = self._load(self._number(self.trials))
        if self.branch:
            taken, left = start_branch(parent, uri, space, fingerprint)
            console.print(f"{self.branch}: {taken} trials of {parent} taken over, {left} left: they do not fit")
        else:
            Study.start(uri, space, fingerprint)
        return OpenedStudy(uri, space, manifest)

    def _load(self, trials: int | None = None) -> SearchSpace:
        overrides = [*self.overrides, *([] if trials is None else [f"budget.trials={trials}"])]
        space = load_space(self.space_uri, overrides=overrides, data_uri=self.data_uri)
        if not self.deterministic or space.study.trial_batch_size is not None:
            return space
        size = space.budget.max_concurrent
        if size == "auto":
            raise ConfigError(
                "--deterministic: give budget.max_concurrent a number, as in --set budget.max_concurrent=4: so many trials "
                "are drawn at once, whatever the cluster has"
            )
        return load_space(self.space_uri, overrides=[*overrides, f"study.trial_batch_size={size}"], data_uri=self.data_uri)

    def _extended(self, there: Study, space: SearchSpace) -> SearchSpace:
        """The space with the budget that is asked for; a study that was extended stays so."""
        before = there.space.budget.trials
        if self.trials.startswith("+"):
            if there.num_left or before is None:
                raise StudyError(
                    f"--trials {self.trials}: {there.num_left} of the study's {before} trials are still to be run; "
                    "leave --trials out to run them, or give the new number of all trials"
                )
            return self._load(before + self._number(self.trials[1:]))
        if self.trials:
            return self._load(self._number(self.trials))
        is_said = any(override.startswith("budget.trials=") for override in self.overrides)
        if is_said or before is None or space.budget.trials is None or before <= space.budget.trials:
            return space
        return self._load(before)

    def _number(self, text: str) -> int:
        if not text.isdecimal() or not int(text):
            raise ConfigError(f"--trials {self.trials}: a number as in 80, or +50 for so many more")
        return int(text)


def checked_manifest(space: SearchSpace) -> Manifest:
    """The study's data set, which has all that the study will ask of it."""
    data = space.config({}).data
    manifest = read_manifest(data.uri)
    wanted = {
        "base.data.train_split": (data.train_split, data.num_train),
        "base.data.val_split": (data.val_split, data.num_val),
    }
    if space.test:
        wanted["test.split"] = (space.test.split, None)
    for key, (split, num_rows) in wanted.items():
        if split not in manifest.split_names:
            raise ConfigError(f"{key}: {data.uri} has no split {split!r}; it has: {', '.join(manifest.split_names)}")
        if num_rows is not None and num_rows > manifest.num_rows(split):
            raise ConfigError(f"{key}: {num_rows:,} rows of {split!r} wanted; it has {manifest.num_rows(split):,}")
    check_splits(data, manifest)
    return manifest
