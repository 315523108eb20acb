"""The study files of the paper's tables against its published rows."""

from __future__ import annotations

import itertools

import pytest

from rcn_search.config.differences import differences
from rcn_search.reproduce.paper_tables import PAPER_CONVERGENCE, STUDY_FILES, TABLES, TableName
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.study_config import StudyConfig

MASKS = ["1000", "0100", "1100", "0010", "0001", "0011", "0111", "1001", "1111"]
ROWS_OF_PAPER = {"RCN 6 branches, occlusion", "SumNet 6 branches, occlusion", "RCN"}
OCCLUSION = {"augment.occluder.min_px": 20, "augment.occluder.max_px": 50}


@pytest.fixture(params=TABLES)
def name(request: pytest.FixtureRequest) -> TableName:
    table: TableName = request.param
    return table


def config_of(name: TableName) -> StudyConfig:
    return load_study_config(str(STUDY_FILES / f"{name}.yaml"))


def published_errors_pct(name: TableName, subset: tuple[str, str], protocol: str = "rcn2016") -> dict[str, float]:
    study = config_of(name)
    rows = TABLES[name].published([*study.runs, *study.joint_models])
    return {row.method: row.error_pct for row in rows if (row.dataset, row.subset, row.protocol) == (*subset, protocol)}


def test_every_row_has_a_published_row_or_is_an_ablation_of_one(name: TableName) -> None:
    study, table = config_of(name), TABLES[name]
    methods = {row.method for row in table.published([*study.runs, *study.joint_models])}
    rows = {*study.runs, *study.joint_models} - {"Denoiser"}
    if name.startswith("ablations"):
        changed = {row for claim in table.claims for row in (*claim.lower, *claim.higher)} - methods
        assert rows & methods
        rows -= changed
    assert {table.published_name(row) for row in rows} <= methods


def test_table_names_only_rows_of_its_study(name: TableName) -> None:
    study, table = config_of(name), TABLES[name]
    rows = {*study.runs, *study.joint_models}
    assert {*table.epochs, *table.compared_with} <= rows
    assert all({*claim.lower, *claim.higher} <= rows for claim in table.claims)


@pytest.mark.parametrize(
    ("name", "subset"),
    [
        *itertools.product(["table1", "table2", "table3"], [("aflw", "test"), ("afw", "test")]),
        *(("table4", ("300w", part)) for part in ("common", "challenging", "full")),
    ],
)
def test_published_errors_support_every_claim(name: TableName, subset: tuple[str, str]) -> None:
    table, by_method = TABLES[name], published_errors_pct(name, subset)
    error_pct = {
        row: by_method[table.published_name(row)] for claim in table.claims for row in (*claim.lower, *claim.higher)
    }
    assert table.claims
    for claim in table.claims:
        assert max(error_pct[row] for row in claim.lower) < min(error_pct[row] for row in claim.higher), claim


def test_published_masks_improve_with_every_added_branch() -> None:
    for subset, model in itertools.product([("aflw", "test"), ("afw", "test")], ["SumNet", "RCN"]):
        by_method = published_errors_pct("table1", subset)
        error = {mask: by_method[f"{model} 4 branches, mask {mask}"] for mask in MASKS}
        pairs = [
            (few, many)
            for few, many in itertools.permutations(MASKS, 2)
            if all(one <= other for one, other in zip(few, many, strict=True))
        ]
        assert len(pairs) == 18
        assert all(error[many] < error[few] for few, many in pairs)
        assert (max(error, key=error.get), min(error, key=error.get)) == ("0001", "1111")


def test_table1_has_nine_masks_of_two_networks() -> None:
    study = config_of("table1")
    assert list(study.runs) == [f"{model} 4 branches, mask {mask}" for model in ("SumNet", "RCN") for mask in MASKS]
    for row in study.runs:
        config = study.train_config(study.run_values(row))
        assert row == f"{ {'rcn': 'RCN', 'sumnet': 'SumNet'}[config.model.name] } 4 branches, mask {config.model.mask}"
        assert config.model.branches == 4
        assert config.augment.occluder.max_px == 0
        assert config.model.name == "rcn" or config.model.fusion_weights == "pixel"


def test_table2_has_thirteen_rows_and_three_seeds_of_the_main_rows() -> None:
    study = config_of("table2")
    assert len(study.runs) == 13
    assert {row: number for row, number in study.seeds_per_run.items() if number > 1} == {
        "RCN 6 branches, occlusion": 3,
        "SumNet 6 branches, occlusion": 3,
    }
    for row, values in study.runs.items():
        config = study.train_config(study.run_values(row))
        kind, branches = {"RCN": "rcn", "SumNet": "sumnet"}[row.split()[0]], int(row.split()[1])
        assert (config.model.name, config.model.branches) == (kind, branches)
        assert ("occlusion" in row) == (OCCLUSION.items() <= values.items()) == (config.augment.occluder.max_px > 0)
        assert ("skip" in row) == getattr(config.model, "skip", False)
        assert config.model.mask is None


def test_rows_of_a_table_share_one_recipe(name: TableName) -> None:
    study = config_of(name)
    for row in study.runs:
        config = study.train_config(study.run_values(row))
        assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("muon", 2.5e-3, 1e-4)
        assert config.schedule.batch_size == 64
        assert config.augment.rotate_deg == (40 if name in ("table4", "ablations-300w") else 20)


def test_ablations_change_one_thing_each() -> None:
    for name in ("ablations", "ablations-300w"):
        study = config_of(name)
        configs = {row: study.train_config(study.run_values(row)) for row in study.runs}
        base = {config.model.name: config for row, config in reversed(configs.items()) if row in ROWS_OF_PAPER}
        for row, config in configs.items():
            changed = list(differences(config.model_dump(mode="json"), base[config.model.name].model_dump(mode="json")))
            assert len(changed) == (row not in ROWS_OF_PAPER), (row, changed)


def test_convergence_saves_every_epoch_of_the_rows_that_the_paper_timed() -> None:
    study = config_of("convergence")
    assert {row for row in study.runs if "occlusion" not in row} == PAPER_CONVERGENCE.keys()
    assert set(study.seeds_per_run.values()) == {3}
    assert len(study.runs) == len(study.seeds_per_run) == 4
    assert all(study.train_config(study.run_values(row)).validation.save == "every" for row in study.runs)
