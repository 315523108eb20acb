"""Any two rows of the leaderboard against each other: image by image under one protocol, or refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.paired import Difference, seeded_difference
from rcn_search.evaluation.protocol import Protocol
from rcn_search.leaderboard.lookup import Entries, find_entries, find_predictions
from rcn_search.leaderboard.per_image import read_image_set
from rcn_search.leaderboard.ranking.seeds import method_family, without_seed
from rcn_search.leaderboard.records import Entry
from rcn_search.leaderboard.table import load_errors


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two methods under one protocol.

    Attributes:
        protocol: How both were measured.
        methods: Names of the two.
        errors_pct: Their mean errors, over the seeds of each.
        num_seeds: How many entries of different seeds each mean is over.
        num_images: Images that count for both.
        difference: First minus second.
    """

    protocol: Protocol
    methods: tuple[str, str]
    errors_pct: tuple[float, float]
    num_seeds: tuple[int, int]
    num_images: int
    difference: Difference

    def __str__(self) -> str:
        """One sentence."""
        better, worse = self.methods if self.difference.mean <= 0 else self.methods[::-1]
        p = "" if self.difference.p is None else f", p = {self.difference.p:.2g}"
        if self.difference.is_tie:
            return f"no difference that chance does not explain: {better} is {self.difference} better{p}"
        return f"{better} is better than {worse} by {self.difference}{p}"


def compare(leaderboard: str, entries: Entries, first: str, second: str) -> list[Comparison]:
    """The difference of two rows under every protocol that both were measured by.

    Args:
        leaderboard: URI of the leaderboard.
        entries: What is on it.
        first: Id of an entry or name of a method; the entries of a method that differ in the seed only are one row.
        second: The same.

    Raises:
        ValueError: They share no protocol; there is no such entry or method; a name is that of several results; they
            are of different images; or their errors by image are not kept.
    """
    sides = [find_entries(entries, name) for name in (first, second)]
    if sides[0] == sides[1]:
        raise ValueError(f"{first!r} and {second!r} are the same")
    rows = [_by_protocol(side) for side in sides]
    shared = [protocol for protocol in rows[0] if protocol in rows[1]]
    if not shared:
        raise ValueError(_refusal(leaderboard, *sides))
    return [_verdict(leaderboard, protocol, rows[0][protocol], rows[1][protocol]) for protocol in shared]


def _by_protocol(side: Entries) -> dict[Protocol, dict[str, Entry]]:
    rows: dict[Protocol, dict[str, Entry]] = {}
    for entry_id, entry in side.items():
        rows.setdefault(entry.protocol, {})[entry_id] = entry
    return rows


def _verdict(leaderboard: str, protocol: Protocol, first: Mapping[str, Entry], second: Mapping[str, Entry]) -> Comparison:
    sides = [_seeds(first), _seeds(second)]
    images = {entry.images_sha256 for side in sides for entry in side}
    errors = [np.stack([load_errors(leaderboard, entry) for entry in side]) for side in sides]
    if len(images) > 1:
        raise ValueError(
            f"under {protocol.name} of {protocol.dataset} {protocol.subset} the two were measured on different images, "
            f"{sides[0][0].num_images:,} and {sides[1][0].num_images:,} of them: score both on the same split"
        )
    (name,) = images
    assert name is not None  # what has errors has images
    kept_n = np.isfinite(np.concatenate(errors)).all(axis=0)
    first_sn, second_tn = errors
    return Comparison(
        protocol=protocol,
        methods=(_name(sides[0]), _name(sides[1])),
        errors_pct=(_mean(first_sn[:, kept_n]), _mean(second_tn[:, kept_n])),
        num_seeds=(len(first_sn), len(second_tn)),
        num_images=int(kept_n.sum()),
        difference=seeded_difference(first_sn, second_tn, read_image_set(leaderboard, name).group_n),
    )


def _mean(error_pct_sn: Array) -> float:
    return float(error_pct_sn.mean())


def _seeds(side: Mapping[str, Entry]) -> list[Entry]:
    """One entry for each seed of the one method that ``side`` must be."""
    families = {method_family(entry) for entry in side.values()}
    if len(families) > 1:
        listed = "\n".join(f"  {entry_id}  {entry.error_pct:.2f} %" for entry_id, entry in side.items())
        method = next(iter(side.values())).method
        raise ValueError(f"{len(families)} different results are called {method!r}; name one by its id:\n{listed}")
    by_seed: dict[object, Entry] = {}
    for _, entry in sorted(side.items()):
        by_seed.setdefault(entry.config.get("seed"), entry)  # the first look at each seed's weights counts
    return list(by_seed.values())


def _name(side: Sequence[Entry]) -> str:
    return without_seed(side[0].method) if len(side) > 1 else side[0].method


def _refusal(leaderboard: str, first: Entries, second: Entries) -> str:
    """In what the nearest two differ, and the command that scores one as the other was."""
    pairs = [(a, b) for a in first.items() for b in second.items()]
    (id_a, a), (id_b, b) = min(pairs, key=lambda pair: len(pair[0][1].protocol.differences(pair[1][1].protocol)))
    differences = a.protocol.differences(b.protocol) or [f"name: {a.protocol.name} or {b.protocol.name}"]
    refusal = f"not comparable: they were measured differently ({'; '.join(differences)})"
    if (a.protocol.dataset, a.protocol.subset) != (b.protocol.dataset, b.protocol.subset):
        return refusal
    for entry_id, entry, other in ((id_b, b, a), (id_a, a, b)):
        if find_predictions(leaderboard, entry, {}) is not None:
            return (
                f"{refusal}. Predictions of {entry_id} are stored; score them as the other was and compare again: "
                f"rcn-search leaderboard rescore {entry_id} --protocol {other.protocol.name} --leaderboard {leaderboard}"
            )
    return refusal
