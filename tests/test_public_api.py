"""Names of the public interface: complete, lazy, and typed; and all examples in docstrings."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import rcn_search
from rcn_search.config.schema import TrainConfig
from tests.support.checkpoints import write_untrained

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rcn_search"
WITH_EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]


def python(code: str, *options: str) -> str:
    line = [sys.executable, *options, "-c", code]
    return subprocess.run(line, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_every_public_name_is_importable_and_listed() -> None:
    assert sorted(rcn_search.__all__) == rcn_search.__all__
    for name in rcn_search.__all__:
        assert getattr(rcn_search, name) is not None
    assert set(rcn_search.__all__) <= set(dir(rcn_search))
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        _ = rcn_search.predict


def test_public_names_are_documented_objects() -> None:
    for name in rcn_search.__all__:
        assert getattr(rcn_search, name).__doc__, name


def test_public_names_agree_with_their_types() -> None:
    """What a type checker imports is what is imported when the package runs."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {name: uri if ":" in uri else f"{uri}:{name}" for name, uri in rcn_search._MODULES.items()}
    assert typed == lazy
    assert sorted(lazy) == rcn_search.__all__


def test_import_is_fast_and_lazy() -> None:
    code = (
        "import sys, time; start = time.process_time(); import rcn_search; took = time.process_time() - start;"
        "print(took, *({'torch', 'ray', 'optuna', 'numpy', 'matplotlib', 'pydantic'} & sys.modules.keys()))"
    )
    took_s, *imported = python(code).split()
    assert imported == []
    assert float(took_s) < 0.2


def test_load_needs_neither_ray_nor_optuna() -> None:
    code = "import sys, rcn_search; rcn_search.load; print({'ray', 'optuna', 'matplotlib'} & sys.modules.keys())"
    assert python(code) == "set()\n"


@pytest.mark.slow
def test_public_names_have_types(tmp_path: Path) -> None:
    """A user's script is checked with the types of the package, in which py.typed lies."""
    assert (PACKAGE / "py.typed").is_file()
    script = tmp_path / "script.py"
    script.write_text(
        "import rcn_search\n"
        "predictor = rcn_search.load('best.safetensors', rcn_search.InferenceConfig(tta=('flip',)))\n"
        "reveal_type(predictor)\n"
        "reveal_type(predictor.predict('photo.jpg').points)\n"
        "reveal_type(rcn_search.evaluate)\n"
        "reveal_type(rcn_search.open_dataset('data/mtfl'))\n"
        "reveal_type(rcn_search.open_study('studies/rcn').trials)\n"
        "predictor.predict(3)\n"
    )
    line = [sys.executable, "-m", "mypy", "--follow-imports", "silent", str(script)]  # with the cache of make lint
    printed = subprocess.run(line, check=False, capture_output=True, text=True, cwd=ROOT).stdout
    assert 'Revealed type is "rcn_search.inference.predictor.Predictor"' in printed
    assert 'Revealed type is "numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.floating[' in printed
    assert "leaderboard.submit.Submission" in printed
    assert 'Revealed type is "rcn_search.data.dataset.Dataset"' in printed
    assert "rcn_search.study.trial.Trial" in printed
    assert 'Argument 1 to "predict" of "Predictor" has incompatible type "int"' in printed


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstring_examples_run(
    path: Path, tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples of all modules; they may use ``checkpoint``, ``data`` and ``photo``, which are drawn here."""
    monkeypatch.chdir(ROOT)
    names = {
        "checkpoint": write_untrained(tiny_config, tmp_path),
        "data": synthetic_uri,
        "photo": np.full((200, 320, 3), 128, np.uint8),
    }
    relative = path.relative_to(ROOT).with_suffix("")
    module = import_module(".".join(part for part in relative.parts if part != "__init__"))
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for test in finder.find(module, extraglobs=names) if test.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    assert tests
