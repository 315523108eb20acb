"""Model cards: what packaged weights are, what they were trained on, how wrong they are, and what they are not for.

``NAME.json`` beside the weights is a `ModelCard`, and ``NAME.md`` is rendered from it (Mitchell et al. 2019).
"""

from __future__ import annotations

import textwrap
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.evaluation.score import Estimate, Part, Score

MAX_BYTES = 5 * 10**6
"""Largest packaged checkpoint, so that the wheel stays small."""
_COLUMNS = 120


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CardScore(_Stored):
    """Errors on one split under one protocol.

    Attributes:
        coverage, radius: Share of the true points in the radius around the predicted point; mean radius.
        parts: Mean error by class of an attribute, as in ``pose: frontal`` or ``skin: dark``.
    """

    protocol: EvaluationProtocol
    num_images: int = Field(ge=1)
    error: Estimate
    coverage: Estimate | None = None
    radius: Estimate | None = None
    parts: dict[str, Part] = {}


class CardData(_Stored):
    """Images that the weights were trained and chosen on."""

    source: str
    license: str
    fingerprint: str
    num_train: int
    num_val: int


class ModelCard(_Stored):
    """What is known of packaged weights.

    Attributes:
        num_seeds: Number of trainings, of which the one with the lowest validation error is packaged.
        scores: Errors, measured once each.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    num_bytes: int = Field(ge=1, le=MAX_BYTES)
    license: str
    keypoints: str
    points: tuple[str, ...]
    input_px: int
    num_params: int
    multiply_adds: int
    data: CardData
    method: str
    epochs: int
    train_s: float
    num_seeds: int = Field(ge=1)
    val_error_pct: float
    code_version: str
    scores: tuple[CardScore, ...]


def card_score(protocol: EvaluationProtocol, score: Score, class_names: dict[str, str]) -> CardScore:
    """Take what a card holds from a score; ``class_names`` are readable names of classes, as in ``pose 2``."""
    return CardScore(
        protocol=protocol,
        num_images=score.num_images,
        error=score.error,
        coverage=score.coverage,
        radius=score.radius,
        parts={class_names.get(name, name): part for name, part in score.parts.items()},
    )


def render_card(card: ModelCard) -> str:
    """Render a card as Markdown."""
    data = card.data
    drawn = "No photograph was used to train or choose them. " if data.source.startswith("drawn") else ""
    lines = [
        f"# {card.name}",
        "",
        f"{card.method}: {len(card.points)} facial points (`{card.keypoints}`) from a picture of a face of "
        f"{card.input_px}×{card.input_px} pixels. {card.num_params:,} parameters, "
        f"{card.multiply_adds / 1e6:,.0f} million multiply-adds, "
        f"{card.num_bytes / 1e6:.2f} MB, SHA-256 `{card.sha256}`.",
        "",
        f"License: {card.license}.",
        "",
        "## Data",
        "",
        f"{data.num_train:,} training and {data.num_val:,} validation faces, {data.source} (license {data.license}, "
        f"fingerprint `{data.fingerprint}`). {drawn}{_training(card)}",
        "",
        "## Use",
        "",
        "```python",
        "import rcn_search",
        "",
        f'faces = rcn_search.load("{card.name}").predict("photo.jpg")',
        "```",
        "",
        "or `rcn-search predict photo.jpg --model "
        + card.name
        + " --out points`. Each point has a confidence and a radius, which holds the true point with 90 % on faces "
        "like those of the validation split.",
        "",
        "## Limits",
        "",
        "- Profiles beyond 60 degrees, faces turned by more than 25 degrees in the picture and faces under about 40 "
        "pixels were not trained on.",
        "- On photographs errors are larger, and radii too short, than on drawn faces; see the table.",
        "- The points say where eyes, nose and mouth are. They identify nobody, and nothing about a person's emotion, "
        "health, age or origin follows from them.",
        "- Errors by skin tone are known for drawn faces only, whose tones are gray values. They do not show that "
        "people of all skin tones are served alike: measure on photographs of those you mean to use it for.",
        "",
        "## Errors",
        "",
    ]
    return "\n".join([*(part for line in lines for part in _wrap(line)), *_error_table(card)]) + "\n"


def _wrap(line: str) -> list[str]:
    indent = "  " if line.startswith("- ") else ""
    return textwrap.wrap(line, _COLUMNS, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _training(card: ModelCard) -> str:
    seeds = (
        "those of one training"
        if card.num_seeds == 1
        else f"the best of {card.num_seeds} trainings by validation error"
    )
    return (
        f"The weights are {seeds}: epoch {card.epochs}, {card.train_s / 3600:.1f} hours, validation "
        f"error {card.val_error_pct:.2f} %, rcn-search {card.code_version}."
    )


def _error_table(card: ModelCard) -> list[str]:
    """Make a line for each score, and below the first one of a subset for each class of its images."""
    lines = ["| images | protocol | error % | 95 % interval | in radius % | faces |", "|---|---|---|---|---|---|"]
    seen: set[str] = set()
    for score in card.scores:
        images = f"{score.protocol.dataset} {score.protocol.subset}"
        coverage = _cell(score.coverage)
        lines.append(_row(images, score.protocol.name, score.error, coverage, score.num_images))
        parts = {} if images in seen else score.parts
        seen.add(images)
        lines += [
            _row(f"– {name}", score.protocol.name, part.error, "", part.num_images) for name, part in parts.items()
        ]
    return lines


def _row(images: str, protocol: str, error: Estimate, coverage: str, num_images: int) -> str:
    interval = "" if error.low_pct is None else f"{error.low_pct:.2f}–{error.high_pct:.2f}"
    return f"| {images} | {protocol} | {error.pct:.2f} | {interval} | {coverage} | {num_images:,} |"


def _cell(estimate: Estimate | None) -> str:
    return f"{estimate.pct:.1f}" if estimate else ""
