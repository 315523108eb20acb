"""Every YAML example of the documentation is accepted by the models that read it, every Python example compiles."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from rcn_search.study.loading import load_study_config
from rcn_search.study.space.options import Sampler, Scheduler
from tests.support.documents import REPOSITORY, Block, blocks, name

YAML = blocks("yaml")
PYTHON = blocks("python")
FIRST = yaml.safe_load(
    next(block for block in YAML if block.page == REPOSITORY / "docs" / "how-to" / "write-a-search-space.md").text
)


def study_document(block: Block) -> dict[str, Any]:
    """A whole study file: the example itself, or a part laid over the first example of the guide."""
    part = yaml.safe_load(block.text)
    if block.title == "study.yaml, complete" or {"study", "search"} <= part.keys():
        return part
    document = {**FIRST, **part}
    if "search" in part:
        del document["initial_trials"]  # they belong to the first example's space
    return document


def ids(block: Block) -> str:
    return f"{name(block.page)}: {block.text.strip().splitlines()[0]}"


@pytest.mark.parametrize("block", YAML, ids=ids)
def test_yaml_example_is_an_accepted_study(block: Block, tmp_path: Path):
    assert block.title.startswith("study.yaml"), 'a YAML example needs title="study.yaml", so that it is checked'
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_document(block), sort_keys=False))
    assert load_study_config(str(path)).budget.epochs


@pytest.mark.parametrize(("section", "options"), [("sampler", Sampler), ("scheduler", Scheduler)])
def test_each_sampler_and_scheduler_has_an_example(section: str, options: Any):
    examples = [yaml.safe_load(block.text) for block in YAML]
    known = {kind.model_fields["name"].default for kind in get_args(get_args(options)[0])}
    assert {example[section]["name"] for example in examples if section in example} == known


@pytest.mark.parametrize("block", PYTHON, ids=ids)
def test_python_example_uses_public_names(block: Block):
    import rcn_search

    tree = ast.parse(block.text)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rcn_search"
    }
    assert used <= set(rcn_search.__all__)
