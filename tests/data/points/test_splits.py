from __future__ import annotations

import pytest

from rcn_search.data.importers.points.splits import Member, assign_splits, canonical_split, split_of_files
from rcn_search.data.shards import DatasetError


def members(count: int, split: str | None = None) -> list[Member]:
    return [Member(label=str(n), image=f"{n}.png", group=f"{n}.png", split=split) for n in range(count)]


@pytest.mark.parametrize(("count", "val", "test"), [(3, 1, 1), (10, 2, 2), (50, 10, 10), (501, 100, 100)])
def test_assign_splits_takes_exact_shares_of_groups(count: int, val: int, test: int) -> None:
    splits, notes = assign_splits(members(count), val=0.2, test=0.2)
    assert (splits.count("val"), splits.count("test"), splits.count("train")) == (val, test, count - val - test)
    assert notes == ["split by a hash of the group (by default the image): test 0.2, val 0.2 of the groups"]


def test_assign_splits_depends_on_names_only() -> None:
    splits, _ = assign_splits(members(40), val=0.1, test=0.3)
    backwards, _ = assign_splits(members(40)[::-1], val=0.1, test=0.3)
    assert backwards[::-1] == splits


def test_assign_splits_by_default_takes_a_tenth_each() -> None:
    splits, _ = assign_splits(members(30), val=None, test=None)
    assert [splits.count(name) for name in ("train", "val", "test")] == [24, 3, 3]
    splits, _ = assign_splits(members(30), val=0.0, test=None)
    assert [splits.count(name) for name in ("train", "val", "test")] == [27, 0, 3]


def test_assign_splits_takes_missing_validation_from_training() -> None:
    stated = members(20, "train")
    tests = [Member(label="t", image=f"t{n}", group=f"t{n}", split="test") for n in range(5)]
    splits, notes = assign_splits([*stated, *tests], val=None, test=None)
    assert [splits.count(name) for name in ("train", "val", "test")] == [18, 2, 5]
    assert splits[20:] == ["test"] * 5
    assert notes[0] == "splits as the annotations say: test, train"


@pytest.mark.parametrize(
    ("count", "val", "test", "problem"),
    [(2, 0.1, 0.1, "2 groups of images are too few"), (9, 0.5, 0.5, "leave nothing to train on")],
)
def test_assign_splits_without_enough_groups_is_an_error(count: int, val: float, test: float, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        assign_splits(members(count), val=val, test=test)


def test_split_of_files_reads_words_of_their_names() -> None:
    files = ["person_keypoints_train2017.json", "person_keypoints_val2017.json"]
    assert [*split_of_files(files, by_folder=False).values()] == ["train", "val"]
    assert split_of_files(["training/test_1.json", "validation/train_2.json"], by_folder=True) == {
        "training/test_1.json": "train",
        "validation/train_2.json": "val",
    }
    assert split_of_files(["train.csv"], by_folder=False) == {}
    assert split_of_files(["contest.csv", "trainer.csv"], by_folder=False) == {}
    with pytest.raises(DatasetError, match=r"but not rest\.csv"):
        split_of_files(["train.csv", "val.csv", "rest.csv"], by_folder=False)


def test_canonical_split_of_names() -> None:
    assert [canonical_split(name) for name in ("Train", "DEV", "testing", "indoor", "a b", "")] == [
        "train",
        "val",
        "test",
        "indoor",
        None,
        None,
    ]
