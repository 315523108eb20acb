"""Compare two rows of the leaderboard image by image under one protocol, or refuse with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.paired import Difference, seeded_difference
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.leaderboard.entry_cache import summarize
from rcn_search.leaderboard.lookup import Entries, find_entries, find_predictions
from rcn_search.leaderboard.per_image import read_image_set
from rcn_search.leaderboard.ranking.seeds import method_family, without_seed
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import load_errors


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two methods under one protocol, on images that count for both; ``difference`` is the first minus the second."""

    protocol: EvaluationProtocol
    methods: tuple[str, str]
    errors_pct: tuple[float, float]
    num_seeds: tuple[int, int]
    num_images: int
    difference: Difference

    def __str__(self) -> str:
        """Say in one sentence which method is better."""
        better, worse = self.methods if self.difference.mean <= 0 else self.methods[::-1]
        p = "" if self.difference.p is None else f", p = {self.difference.p:.2g}"
        if self.difference.is_tie:
            return f"no significant difference: {better} is {self.difference} better{p}"
        return f"{better} is better than {worse} by {self.difference}{p}"


def compare(leaderboard: str, entries: Entries, first: str, second: str) -> list[Comparison]:
    """Compare two rows, each an entry's id or a method, under every protocol that both were measured by.

    Entries of a method that differ in the seed only are one row. `RcnSearchError` if a name is unknown or ambiguous, or
    the two share no protocol, images or stored per-image errors.
    """
    sides = [find_entries(entries, name) for name in (first, second)]
    if sides[0] == sides[1]:
        raise RcnSearchError(f"{first!r} and {second!r} are the same row")
    first_protocols, second_protocols = ([entry.protocol for entry in side.values()] for side in sides)
    shared = [protocol for protocol in dict.fromkeys(first_protocols) if protocol in second_protocols]
    if not shared:
        raise RcnSearchError(_not_comparable(leaderboard, *sides))
    return [_compare(leaderboard, protocol, sides) for protocol in shared]


def _compare(leaderboard: str, protocol: EvaluationProtocol, rows: Sequence[Entries]) -> Comparison:
    sides = [
        _one_entry_per_seed({key: entry for key, entry in row.items() if entry.protocol == protocol}) for row in rows
    ]
    image_sets = {entry.images_sha256 for side in sides for entry in side}
    errors = [np.stack([load_errors(leaderboard, entry) for entry in side]) for side in sides]
    if len(image_sets) > 1:
        raise RcnSearchError(
            f"under {protocol.name} of {protocol.dataset} {protocol.subset} the two were measured on different images, "
            f"{sides[0][0].num_images:,} and {sides[1][0].num_images:,} of them: score both on the same split"
        )
    (images_sha256,) = image_sets
    assert images_sha256 is not None  # an entry with errors has an image set
    counts_n = np.isfinite(np.concatenate(errors)).all(axis=0)
    first_sn, second_tn = errors
    return Comparison(
        protocol=protocol,
        methods=(_name(sides[0]), _name(sides[1])),
        errors_pct=(float(first_sn[:, counts_n].mean()), float(second_tn[:, counts_n].mean())),
        num_seeds=(len(first_sn), len(second_tn)),
        num_images=int(counts_n.sum()),
        difference=seeded_difference(first_sn, second_tn, read_image_set(leaderboard, images_sha256).group_n),
    )


def _one_entry_per_seed(side: Mapping[str, Entry]) -> list[Entry]:
    """Select one entry for each seed of the one method that ``side`` must be."""
    families = {method_family(entry) for entry in side.values()}
    if len(families) > 1:
        lines = "\n".join(f"  {entry_id}  {entry.error_pct:.2f} %" for entry_id, entry in side.items())
        method = next(iter(side.values())).method
        raise RcnSearchError(f"{len(families)} different results are called {method!r}; name one by its id:\n{lines}")
    by_seed: dict[object, Entry] = {}
    for _, entry in sorted(side.items()):
        by_seed.setdefault(summarize(entry).seed, entry)  # the first evaluation of each seed counts
    return list(by_seed.values())


def _name(side: Sequence[Entry]) -> str:
    return without_seed(side[0].method) if len(side) > 1 else side[0].method


def _has_predictions(leaderboard: str, entry: Entry) -> bool:
    try:
        return find_predictions(leaderboard, entry, {}) is not None
    except RcnSearchError:  # damaged
        return False


def _not_comparable(leaderboard: str, first: Entries, second: Entries) -> str:
    """Say how the two most similar entries differ, and the command that scores one like the other."""
    pairs = [(a, b) for a in first.items() for b in second.items()]
    (id_a, a), (id_b, b) = min(pairs, key=lambda pair: len(pair[0][1].protocol.differences(pair[1][1].protocol)))
    differences = a.protocol.differences(b.protocol) or [f"name: {a.protocol.name} or {b.protocol.name}"]
    message = f"not comparable: they were measured differently ({'; '.join(differences)})"
    if (a.protocol.dataset, a.protocol.subset) != (b.protocol.dataset, b.protocol.subset):
        return message
    for entry_id, entry, other in ((id_b, b, a), (id_a, a, b)):
        if _has_predictions(leaderboard, entry):
            return (
                f"{message}. Predictions of {entry_id} are stored; score them like the other's, then compare again: "
                f"rcn-search leaderboard rescore {entry_id} --protocol {other.protocol.name} "
                f"--leaderboard {leaderboard}"
            )
    return message
