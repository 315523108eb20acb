"""Every example of docs/explanation/searching.md is a study file that is accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rcn_search.study.loading import load_study_config
from rcn_search.study.space.options import Sampler, Scheduler

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "searching.md").read_text()
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def names_of(options) -> set[str]:
    """Of a discriminated union of options."""
    return {kind.model_fields["name"].default for kind in options.__origin__.__args__}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: ", ".join(map(str, example)))
def test_an_example_is_a_study(example, tmp_path):
    path = tmp_path / "study.yaml"
    document = {**EXAMPLES[0], **example}
    if "search" in example and "study" not in example:
        del document["initial_trials"]  # they belong to the first example's space
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    space = load_study_config(str(path))
    assert space.initial_trials or "search" in example


@pytest.mark.parametrize(("section", "options"), [("sampler", Sampler), ("scheduler", Scheduler)])
def test_each_sampler_and_scheduler_has_an_example(section, options):
    assert {example[section]["name"] for example in EXAMPLES if section in example} == names_of(options)
