"""Options that several commands have, declared once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rcn_search.config.network_target import allow_target
from rcn_search.config.schema import Decoder

Leaderboard = Annotated[
    str,
    typer.Option(
        "--leaderboard",
        metavar="URI",
        help="Folder or URI of the leaderboard. Default: $RCN_SEARCH_LEADERBOARD, else ./leaderboard. In a clone of "
        "rcn-search that is the repository's: it is shown, but new results go to runs/leaderboard.",
    ),
]
EntryOrMethod = Annotated[str, typer.Argument(metavar="ENTRY", help="Id of an entry, or name of a method.")]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="Packaged weights, folder of a run, checkpoint, or exported file."
    ),
]
DataUri = Annotated[str, typer.Option("--data", metavar="URI", help="Folder or URI of an imported data set.")]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the file, as in schedule.epochs=3."),
]
StudyOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the study file, as in budget.epochs=3."),
]


class Tta(StrEnum):
    """Names of `rcn_search.inference.config.Augmentation`; Typer takes a list of an Enum, but none of a Literal."""

    flip = "flip"
    multiview = "multiview"


TtaOption = Annotated[
    list[Tta] | None,
    typer.Option(
        "--tta",
        metavar="NAME",
        help="Test-time augmentation, averaged over: flip, the face and its flipped image; multiview, nine windows "
        "turned by 10° and scaled by 8 %. Repeat the option for both.",
    ),
]
DecoderOption = Annotated[
    Decoder | None,
    typer.Option(
        "--decoder",
        metavar="NAME",
        help="From a probability map to a point: the largest value (argmax, as in the paper), the least expected "
        "distance (median), or the mean position (soft-argmax, the default for the losses l2 and wing).",
    ),
]
Denoiser = Annotated[
    str, typer.Option("--denoiser", metavar="URI", help="best.safetensors of a denoiser, for the joint model.")
]


def _allow_targets(prefixes: list[str] | None) -> list[str] | None:
    for prefix in prefixes or ():
        allow_target(prefix)
    return prefixes


AllowTarget = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-target",
        metavar="PREFIX",
        callback=_allow_targets,
        help="Allow code that a checkpoint names as its network, as in lab.nets, to be imported and run.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:1; auto is a GPU if there is one.")]
