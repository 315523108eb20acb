"""Distributed hyper-parameter search and evaluation for facial keypoint models.

The names below are the public interface. Each is imported when it is first used, so that ``import rcn_search`` is fast:

- data: `import_dataset`, `Importer`, `open_dataset`
- training: `TrainConfig`, `train`
- search: `StudyConfig`, `StudyRequest`, `run_search`, `open_study`
- inference: `load`, `Predictor`, `InferenceConfig`
- networks of your own: `rcn_search.testing.check_network`, `allow_target`
- evaluation: `evaluate`, `EvaluationProtocol`, `Leaderboard`
- errors: `RcnSearchError`, the base of all errors that a user can correct
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rcn_search.config.network_target import allow_target
    from rcn_search.config.schema import TrainConfig
    from rcn_search.data.dataset import open_dataset
    from rcn_search.data.importers.base import Importer
    from rcn_search.data.importing import import_dataset
    from rcn_search.errors import RcnSearchError
    from rcn_search.evaluation.protocol import EvaluationProtocol
    from rcn_search.inference.config import InferenceConfig
    from rcn_search.inference.predictor import Predictor, load
    from rcn_search.leaderboard.submit import evaluate_and_record as evaluate
    from rcn_search.leaderboard.table import Leaderboard
    from rcn_search.search.open_or_resume import StudyRequest
    from rcn_search.search.run_search import run_search
    from rcn_search.study.snapshot import open_study
    from rcn_search.study.space.study_config import StudyConfig
    from rcn_search.training.train import train

__all__ = [
    "EvaluationProtocol",
    "Importer",
    "InferenceConfig",
    "Leaderboard",
    "Predictor",
    "RcnSearchError",
    "StudyConfig",
    "StudyRequest",
    "TrainConfig",
    "allow_target",
    "evaluate",
    "import_dataset",
    "load",
    "open_dataset",
    "open_study",
    "run_search",
    "train",
]
__version__ = version("rcn-search")

# Public name to module, and the name there if it is another.
_MODULES = {
    "EvaluationProtocol": "rcn_search.evaluation.protocol",
    "Importer": "rcn_search.data.importers.base",
    "InferenceConfig": "rcn_search.inference.config",
    "Leaderboard": "rcn_search.leaderboard.table",
    "Predictor": "rcn_search.inference.predictor",
    "RcnSearchError": "rcn_search.errors",
    "StudyConfig": "rcn_search.study.space.study_config",
    "StudyRequest": "rcn_search.search.open_or_resume",
    "TrainConfig": "rcn_search.config.schema",
    "allow_target": "rcn_search.config.network_target",
    "evaluate": "rcn_search.leaderboard.submit:evaluate_and_record",
    "import_dataset": "rcn_search.data.importing",
    "load": "rcn_search.inference.predictor",
    "open_dataset": "rcn_search.data.dataset",
    "open_study": "rcn_search.study.snapshot",
    "run_search": "rcn_search.search.run_search",
    "train": "rcn_search.training.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'rcn_search' has no attribute {name!r}")
    module, _, attribute = _MODULES[name].partition(":")
    value = globals()[name] = getattr(import_module(module), attribute or name)
    return value


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
