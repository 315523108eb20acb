"""A table of the paper as it is being re-run: its study, the weights of each row, and where they are scored."""

from __future__ import annotations

from dataclasses import dataclass

from rcn_search import storage
from rcn_search.data.shards import Manifest
from rcn_search.leaderboard.published import PublishedRow
from rcn_search.reproduce.paper_tables import PAPER_TRAINING_IMAGES, PaperTable
from rcn_search.reproduce.test_scores import Candidate, Target
from rcn_search.study.space.study_config import RUN, SEED
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial
from rcn_search.training.exit_status import BEST_NAME


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A study of a table, and where and how its rows are scored.

    Attributes:
        table: Of the paper.
        published: The rows that are shown beside ours.
        study: Its rows here.
        targets: The splits to score on.
        manifests: Of the data sets, the one that is trained on first.
    """

    table: PaperTable
    published: list[PublishedRow]
    study: Study
    targets: list[Target]
    manifests: list[Manifest]

    def trials_of(self, row: str) -> list[Trial]:
        """All trials of a row that there are, by seed."""
        found = [trial for trial in self.study.trials if trial.record.params[RUN] == row]
        return sorted(found, key=lambda trial: int(trial.record.params[SEED] or 0))

    def complete(self, row: str) -> list[Trial]:
        """Those that are complete."""
        return [trial for trial in self.trials_of(row) if trial.state == "complete"]

    def num_seeds(self, row: str) -> int:
        """How many seeds a row, or the network of a joint row, is to have."""
        space = self.study.config
        return space.seeds_per_run.get(space.joint_models[row][0] if row in space.joint_models else row, 1)

    def is_denoiser(self, row: str) -> bool:
        """Whether a row sees no image, so that it has no score of its own."""
        space = self.study.config
        return space.train_config(space.run_values(row)).model.name == "denoiser"

    def candidates(self, row: str) -> list[Candidate]:
        """The weights that a row, or a joint row, is scored by; one for each of its seeds that is complete."""
        space = self.study.config

        def weights(trial: Trial, second: Trial | None = None) -> Candidate:
            seed = f", seed {trial.record.config.seed}" if self.num_seeds(row) > 1 else ""
            return Candidate(
                name="+".join(f"{each.number:06d}" for each in (trial, second) if each),
                method=f"{row}, {space.budget.epochs} epochs{seed}",
                checkpoint=storage.join(trial.folder, BEST_NAME),
                denoiser=storage.join(second.folder, BEST_NAME) if second else "",
            )

        if row in space.joint_models:
            networks, denoisers = map(self.complete, space.joint_models[row])
            return [
                weights(each, denoisers[index % len(denoisers)]) for index, each in enumerate(networks) if denoisers
            ]
        return [] if self.is_denoiser(row) else [weights(each) for each in self.complete(row)]

    def remarks(self) -> list[str]:
        """What a reader must know of the data."""
        data = self.study.config.train_config({}).data
        trained_on = self.manifests[0]
        there = trained_on.num_rows(data.train_split)
        used, papers = min(data.num_train or there, there), PAPER_TRAINING_IMAGES.get(trained_on.name)
        remarks = []
        if papers is None:
            remarks.append(f"trained on {used:,} faces of {trained_on.name!r}, which are not the paper's")
        elif used != papers:
            remarks.append(f"trained on {used:,} of the paper's {papers:,} faces")
        if not any(target.is_test for target in self.targets):
            remarks.append(
                "no test split is here: ours is measured on the validation split, which also chose the epoch, and "
                "cannot be compared with the paper's"
            )
        return remarks + [f"{manifest.name}: {note}" for manifest in self.manifests for note in manifest.notes]
