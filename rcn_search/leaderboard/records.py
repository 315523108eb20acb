"""Entries of a leaderboard: immutable, one small JSON object each.

    <leaderboard>/entries/<created>-<run id>-<hash of the content>.json

Every object is put if absent and never changed, so any number of processes can add entries at once. An entry whose
content does not hash to its name has been altered and is not shown. Entries may be packed (`objects`), and those of
schema versions 1 and 2 load for ever: `rcn_search.config.legacy` brings them to version 3.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rcn_search import storage
from rcn_search.config.legacy import upgrade_entry
from rcn_search.config.schema import canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.protocol import EvaluationProtocol
from rcn_search.evaluation.score import Estimate, Part
from rcn_search.leaderboard.objects import Unreadable, list_objects, put_object, read_objects

ENTRIES = "entries"

# One line of text: no control or format characters, and no white space except the space.
Line = Annotated[str, Field(max_length=200, pattern=r"^(?: |[^\p{C}\p{Z}])+$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
EntryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MAX_PCT = 1e100
"""Largest error that is read, so that sums of squares are finite."""
Percent = Annotated[float, Field(ge=0, le=MAX_PCT)]
Count = Annotated[int, Field(ge=0, le=10**18)]
PositiveCount = Annotated[int, Field(ge=1, le=10**18)]


class Record(BaseModel):
    """Base of all stored records."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@contextlib.contextmanager
def explained_fields() -> Iterator[None]:
    """Turn the refusal of a field, such as the name of a method, into an error that the user can mend."""
    try:
        yield
    except ValidationError as error:
        problem = error.errors()[0]
        raise RcnSearchError(f"{'.'.join(map(str, problem['loc']))} {problem['input']!r}: {problem['msg']}") from error


class Entry(Record):
    """One measured result, with everything needed to check it.

    Attributes:
        protocol: How the error was measured, with data set and subset.
        error_pct: Mean error of the images that count, %.
        ci_low_pct: Lower end of its 95 % interval; None if there were too few groups to resample.
        excluded: Number of images that do not count, by reason.
        origin: ``ours``, a model of this project; ``reproduced``, external predictions scored by this project's code.
        run_id: `TrainConfig.run_id` of the training run.
        config: Resolved training configuration; empty for external predictions.
        multiply_adds: Multiply-adds of the model for one image.
        num_test_evaluations: Number of evaluations of this test split, this one included.
        predictions_uri: URI of the scored file, if it may be shared.
        auc, failure_rate: Area under the cumulative error curve up to the protocol's threshold; images above it.
        p90, p95, p99: Error that 90, 95 or 99 % of the images do not exceed.
        coverage, radius: Share of the true points within the calibrated radius around the predicted point; mean
            radius in percent of the normalizer.
        points: Mean error of each keypoint of the schema; None for points that no image counts.
        parts: Mean error of the images of each class of an attribute, as in ``pose 1``.
        images_sha256, errors_sha256: Names of the image set and the per-image errors; None if only the mean is known.
        latency_ms: Median time for one face on ``hardware``, ms.
        made_with: How the predictions were made from the weights, as in ``decoder`` and ``tta``.
        source: Paper or repository that external predictions come from.
        replaces: Id of an older entry of the same predictions and protocol, which holds less.
    """

    schema_version: Literal[3] = 3
    method: Line
    protocol: EvaluationProtocol
    error_pct: Percent
    ci_low_pct: Percent | None = None
    ci_high_pct: Percent | None = None
    num_images: PositiveCount
    excluded: dict[Line, Count] = {}
    origin: Literal["ours", "reproduced"] = "ours"
    run_id: FileName
    config: dict[str, Any]
    fingerprint: Line
    num_params: PositiveCount | None = None
    multiply_adds: PositiveCount | None = None
    epochs: Count | None = None
    train_s: float | None = Field(None, ge=0)
    hardware: Line
    code_version: Line
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    num_test_evaluations: Count
    predictions_sha256: Sha256
    predictions_uri: str | None = None
    auc: Estimate | None = None
    failure_rate: Estimate | None = None
    p90: Estimate | None = None
    p95: Estimate | None = None
    p99: Estimate | None = None
    coverage: Estimate | None = None
    radius: Estimate | None = None
    points: tuple[Estimate | None, ...] = ()
    parts: dict[Line, Part] = {}
    images_sha256: Sha256 | None = None
    errors_sha256: Sha256 | None = None
    latency_ms: float | None = Field(None, gt=0)
    made_with: dict[Line, bool | int | float | Line] = {}
    source: Line | None = None
    replaces: EntryId | None = None

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, document: Any) -> Any:
        is_old = isinstance(document, dict) and document.get("schema_version") in (1, 2)
        return upgrade_entry(document) if is_old else document

    def supersedes(self, other: Entry) -> bool:
        """Whether this entry measures the same predictions in the same way, so that it may replace ``other``."""
        return (
            (self.method, self.protocol, self.run_id, self.predictions_sha256, self.num_images)
            == (other.method, other.protocol, other.run_id, other.predictions_sha256, other.num_images)
            and math.isclose(self.error_pct, other.error_pct, rel_tol=1e-9)
            and self.num_test_evaluations >= other.num_test_evaluations
        )


def add_entry(leaderboard: str, entry: Entry) -> str:
    """Publish an entry and return its URI. Adding the same entry again changes nothing."""
    document = storage.without_user_info(entry.model_dump(mode="json"))
    name = f"{entry.created.astimezone(UTC):%Y%m%dT%H%M%SZ}-{entry.run_id}-{_digest(document)}.json"
    return put_object(leaderboard, ENTRIES, name, storage.encode_json(document))


def load_entries(leaderboard: str) -> tuple[dict[str, Entry], list[str]]:
    """Load all entries by id, and a line for every object in their folder that is not an entry."""
    return read_entries(leaderboard, list_objects(leaderboard, ENTRIES))


def read_entries(leaderboard: str, names: Iterable[str]) -> tuple[dict[str, Entry], list[str]]:
    """Read the entries among the named objects by id, and a line for every object that is not an entry."""
    names = [name for name in names if not name.startswith(".")]
    contents = read_objects(leaderboard, ENTRIES, names)
    results = {name: _parse_entry(leaderboard, name, contents[name]) for name in names}
    entries = {name.removesuffix(".json"): result for name, result in results.items() if isinstance(result, Entry)}
    return entries, [result for result in results.values() if isinstance(result, str)]


def _parse_entry(leaderboard: str, name: str, content: bytes | Unreadable) -> Entry | str:
    uri = storage.join(leaderboard, ENTRIES, name)
    try:
        if not isinstance(content, bytes):
            raise content
        if not name.endswith(".json"):
            raise RcnSearchError("not a .json object")
        document = storage.decode_json(uri, content)
        entry = Entry.model_validate(storage.without_user_info(document) if b"@" in content else document)
        if not name.endswith(f"-{_digest(document)}.json"):
            raise RcnSearchError("its content or its name was changed after it was added")
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "document"
        return f"{uri} is left out: not an entry of a known schema version: {key}: {problem['msg']}"
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{uri} is left out: {reason.removeprefix(f'{uri} ')}"
    return entry


def _digest(document: Any) -> str:
    return canonical_hash(document)[:12]
