"""A table of the paper as it is being reproduced: its study, the checkpoints of each row, and where they are scored."""

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
class Reproduction:
    """A fixed-run study of a table, and the splits on which its rows are scored.

    A row is a run or a joint model of the study. The first of the manifests is that of the data set that is trained on.
    """

    table: PaperTable
    published: list[PublishedRow]
    study: Study
    targets: list[Target]
    manifests: list[Manifest]

    def trials_of(self, row: str) -> list[Trial]:
        """All trials of a row, by seed."""
        trials = [trial for trial in self.study.trials if trial.params[RUN] == row]
        return sorted(trials, key=lambda trial: int(trial.params[SEED] or 0))

    def complete_trials(self, row: str) -> list[Trial]:
        """The complete trials of a row, by seed."""
        return [trial for trial in self.trials_of(row) if trial.state == "complete"]

    def num_seeds(self, row: str) -> int:
        """Number of seeds of a row; of a joint model, of its network."""
        config = self.study.config
        return config.seeds_per_run.get(config.joint_models[row][0] if row in config.joint_models else row, 1)

    def is_denoiser(self, row: str) -> bool:
        """Whether a row takes no image, so that it has no score."""
        config = self.study.config
        return config.train_config(config.run_values(row)).model.name == "denoiser"

    def candidates(self, row: str) -> list[Candidate]:
        """The checkpoints by which a row is scored; one for each seed that is complete."""
        config = self.study.config

        def candidate(trial: Trial, denoiser: Trial | None = None) -> Candidate:
            seed = f", seed {trial.config.seed}" if self.num_seeds(row) > 1 else ""
            return Candidate(
                name="+".join(f"{part.number:06d}" for part in (trial, denoiser) if part),
                method=f"{row}, {config.budget.epochs} epochs{seed}",
                checkpoint=storage.join(trial.folder, BEST_NAME),
                denoiser=storage.join(denoiser.folder, BEST_NAME) if denoiser else "",
            )

        if row not in config.joint_models:
            return [] if self.is_denoiser(row) else [candidate(trial) for trial in self.complete_trials(row)]
        networks, denoisers = map(self.complete_trials, config.joint_models[row])
        if not denoisers:
            return []
        return [candidate(network, denoisers[seed % len(denoisers)]) for seed, network in enumerate(networks)]

    def data_remarks(self) -> list[str]:
        """List how the data differ from the paper's."""
        data = self.study.config.base_config.data
        trained_on = self.manifests[0]
        num_rows = trained_on.num_rows(data.train_split)
        used, paper = min(data.num_train or num_rows, num_rows), PAPER_TRAINING_IMAGES.get(trained_on.name)
        remarks = []
        if paper is None:
            remarks.append(f"trained on {used:,} faces of {trained_on.name!r}, which are not the paper's")
        elif used != paper:
            remarks.append(f"trained on {used:,} of the paper's {paper:,} faces")
        if not any(target.is_test for target in self.targets):
            remarks.append(
                "no data set has a test split: ours is measured on the validation split, which also chose the epoch, "
                "and cannot be compared with the paper's"
            )
        return remarks + [f"{manifest.name}: {note}" for manifest in self.manifests for note in manifest.notes]
