"""The study files of the paper's tables against its published rows."""

from __future__ import annotations

import itertools

import pytest

from rcn_search.reproduce.paper_tables import PAPER_CONVERGENCE, SPACES, TABLES
from rcn_search.study.loading import load_study_config

MASKS = ["1000", "0100", "1100", "0010", "0001", "0011", "0111", "1001", "1111"]
OCCLUSION = {"augment.occluder.min_px": 20, "augment.occluder.max_px": 50}


@pytest.fixture(params=TABLES)
def name(request) -> str:
    return request.param


def space_of(name):
    return load_study_config(str(SPACES / f"{name}.yaml"))


def errors(name, place, protocol="rcn2016"):
    space = space_of(name)
    rows = TABLES[name].published([*space.runs, *space.joint_models])
    return {row.method: row.error_pct for row in rows if (row.dataset, row.subset, row.protocol) == (*place, protocol)}


def test_every_row_has_a_published_one(name):
    space, table = space_of(name), TABLES[name]
    methods = {row.method for row in table.published([*space.runs, *space.joint_models])}
    rows = {*space.runs, *space.joint_models} - {"Denoiser"}
    assert {table.published_name(row) for row in rows} <= methods


def test_a_row_that_is_named_is_there(name):
    space, table = space_of(name), TABLES[name]
    rows = {*space.runs, *space.joint_models}
    assert {*table.epochs, *table.compared_with} <= rows
    assert all({*claim.lower, *claim.higher} <= rows for claim in table.claims)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        *itertools.product(["table1", "table2", "table3"], [("aflw", "test"), ("afw", "test")]),
        *(("table4", ("300w", subset)) for subset in ("common", "challenging", "full")),
    ],
)
def test_the_papers_own_figures_have_the_orderings_that_are_claimed(name, place):
    table, found = TABLES[name], errors(name, place)
    of = {row: found[table.published_name(row)] for claim in table.claims for row in (*claim.lower, *claim.higher)}
    assert table.claims
    for claim in table.claims:
        assert max(of[row] for row in claim.lower) < min(of[row] for row in claim.higher), claim


def test_no_published_mask_is_worse_than_one_whose_branches_it_has():
    for place, model in itertools.product([("aflw", "test"), ("afw", "test")], ["SumNet", "RCN"]):
        found = errors("table1", place)
        error = {mask: found[f"{model} 4 branches, mask {mask}"] for mask in MASKS}
        pairs = [
            (few, many)
            for few, many in itertools.permutations(MASKS, 2)
            if all(one <= other for one, other in zip(few, many, strict=True))
        ]
        assert len(pairs) == 18
        assert all(error[many] < error[few] for few, many in pairs)
        assert (max(error, key=error.get), min(error, key=error.get)) == ("0001", "1111")


def test_table_1_has_nine_masks_of_two_networks():
    space = space_of("table1")
    assert list(space.runs) == [f"{model} 4 branches, mask {mask}" for model in ("SumNet", "RCN") for mask in MASKS]
    for row in space.runs:
        config = space.train_config(space.run_values(row))
        assert row == f"{ {'rcn': 'RCN', 'sumnet': 'SumNet'}[config.model.name] } 4 branches, mask {config.model.mask}"
        assert config.model.branches == 4
        assert config.augment.occluder.max_px == 0
        assert config.model.name == "rcn" or config.model.fusion_weights == "pixel"


def test_table_2_has_thirteen_rows_and_three_seeds_of_its_headlines():
    space = space_of("table2")
    assert len(space.runs) == 13
    assert {row: number for row, number in space.seeds_per_run.items() if number > 1} == {
        "RCN 6 branches, occlusion": 3,
        "SumNet 6 branches, occlusion": 3,
    }
    for row, values in space.runs.items():
        config = space.train_config(space.run_values(row))
        kind, branches = {"RCN": "rcn", "SumNet": "sumnet"}[row.split()[0]], int(row.split()[1])
        assert (config.model.name, config.model.branches) == (kind, branches)
        assert ("occlusion" in row) == (OCCLUSION.items() <= values.items()) == (config.augment.occluder.max_px > 0)
        assert ("skip" in row) == getattr(config.model, "skip", False)
        assert config.model.mask is None


def test_all_rows_of_a_table_share_the_recipe_of_the_example(name):
    space = space_of(name)
    for row in space.runs:
        config = space.train_config(space.run_values(row))
        assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("muon", 5e-3, 1e-4)
        assert (config.schedule.batch_size, config.schedule.epochs) == (64, 10)
        assert config.augment.rotate_deg == (40 if name == "table4" else 20)


def test_convergence_keeps_every_epoch_of_rows_the_paper_timed():
    space = space_of("convergence")
    assert space.runs.keys() == PAPER_CONVERGENCE.keys()
    assert all(space.train_config(space.run_values(row)).validation.save == "every" for row in space.runs)
