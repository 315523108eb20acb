"""Divide annotated faces into splits: by a column, by the names of the files, or by a hash of their group.

A share is taken in the order of a hash, so that it depends neither on the order of the annotations nor on the machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rcn_search.data.shards import DatasetError

TRAIN, VAL, TEST = "train", "val", "test"
DEFAULT_SHARE = 0.1
_WORDS = {
    TRAIN: ("train", "training", "trainset"),
    VAL: ("val", "valid", "validation", "valset", "dev"),
    TEST: ("test", "testing", "testset"),
}
_CANONICAL = {word: split for split, words in _WORDS.items() for word in words}
_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MAX_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Member:
    """What decides the split of a face: its label for messages, image, group and, if the file says it, split."""

    label: str
    image: str
    group: str
    split: str | None


def canonical_split(name: str) -> str | None:
    """Name of a split, ``train`` for ``Training``; None if it is no name."""
    return _CANONICAL.get(name.lower(), name if _SPLIT_NAME.fullmatch(name) else None)


def split_of_files(files: Sequence[str], *, by_folder: bool) -> dict[str, str]:
    """Find the split of each annotation file by the words in its path; empty if the files do not name two splits.

    Raises:
        DatasetError: Some files name a split and others do not, or one names two.
    """
    found: dict[str, set[str]] = {}
    for file in files:
        words = re.findall("[a-z]+", (file.rpartition("/")[0] if by_folder else file.rpartition(".")[0]).lower())
        found[file] = {_CANONICAL[word] for word in words if word in _CANONICAL}
    if len(set().union(*found.values())) < 2:
        return {}
    if unclear := [file for file, splits in found.items() if len(splits) != 1]:
        raise DatasetError(
            f"some annotation files name their split, but not {', '.join(unclear[:_MAX_SHOWN])}: name a single file as "
            "the source, or rename the files, as in train.csv, val.csv and test.csv"
        )
    return {file: split for file, (split,) in found.items()}


def assign_splits(members: Sequence[Member], *, val: float | None, test: float | None) -> tuple[list[str], list[str]]:
    """Choose the split of each face; return them, and notes on how they were chosen.

    Args:
        members: Faces.
        val: Share of the groups for validation; None: as the files say, else a tenth.
        test: Share of the groups for testing; None: as the files say, and a tenth if they say nothing.

    Raises:
        DatasetError: An image or a group is in two splits, a share contradicts the files, or there are too few groups.
    """
    stated = {member.split for member in members} - {None}
    splits = [member.split or TRAIN for member in members]
    notes = [f"splits as the annotations say: {', '.join(sorted(filter(None, stated)))}"] if stated else []
    shares = {TEST: test, VAL: val}
    for split, share in shares.items():
        if share is not None and split in stated:
            raise DatasetError(f"the annotations say which faces are in {split!r}; leave out --{split}")
    if not stated:
        shares = {TEST: DEFAULT_SHARE if test is None else test, VAL: DEFAULT_SHARE if val is None else val}
    elif val is None and VAL not in stated:
        shares[VAL] = DEFAULT_SHARE
    wanted = {split: share for split, share in shares.items() if share}
    groups = list(dict.fromkeys(member.group for member, split in zip(members, splits, strict=True) if split == TRAIN))
    chosen = _choose(groups, wanted)
    splits = [
        chosen.get(member.group, split) if split == TRAIN else split
        for member, split in zip(members, splits, strict=True)
    ]
    _require_apart(members, splits)
    if wanted:
        parts = ", ".join(f"{split} {share:g}" for split, share in sorted(wanted.items()))
        notes.append(f"split by a hash of the group (by default the image): {parts} of the groups")
    return splits, notes


def _choose(groups: Sequence[str], shares: Mapping[str, float]) -> dict[str, str]:
    """Choose the groups of each split, those of the lowest hashes first; each split and the rest have one at least."""
    if sum(shares.values()) >= 1:
        raise DatasetError("the shares of validation and test leave nothing to train on")
    if shares and len(groups) <= len(shares):
        raise DatasetError(f"{len(groups)} groups of images are too few for train, {' and '.join(sorted(shares))}")
    ranked = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).digest())
    chosen: dict[str, str] = {}
    num_left, num_needed = len(ranked), len(shares)
    for split, share in shares.items():
        num_needed -= 1
        num = min(max(1, round(share * len(ranked))), num_left - num_needed - 1)
        chosen |= dict.fromkeys(ranked[len(chosen) : len(chosen) + num], split)
        num_left -= num
    return chosen


def _require_apart(members: Iterable[Member], splits: Iterable[str]) -> None:
    for what in ("image", "group"):
        first: dict[str, tuple[str, str]] = {}
        shared: list[str] = []
        for member, split in zip(members, splits, strict=True):
            name = getattr(member, what)
            other, label = first.setdefault(name, (split, member.label))
            if other != split:
                shared.append(f"the {what} {name!r} is in {other!r} ({label}) and in {split!r} ({member.label})")
        if shared:
            more = f"; and {len(shared) - _MAX_SHOWN:,} more" if len(shared) > _MAX_SHOWN else ""
            raise DatasetError(f"{'; '.join(shared[:_MAX_SHOWN])}{more}: test errors would be too low")
