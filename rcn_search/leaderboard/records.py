"""What a leaderboard is made of: immutable entries and the ledger of looks at test splits, one small JSON object each.

    <leaderboard>/entries/<created>-<run id>-<hash of the content>.json
    <leaderboard>/test_looks/<dataset>-<subset>/<when>-<random>.json

The errors of an entry's images lie beside it (`per_image`).

Every object is put if absent and never changed, so any number of workers may add at once. An entry whose content does
not hash to its name has been altered and is not shown.

Entries of schema versions 1 and 2 load for ever: `rcn_search.config.legacy` brings them to version 3.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from rcn_search import storage
from rcn_search.config.legacy import upgrade_entry
from rcn_search.config.schema import canonical_hash
from rcn_search.evaluation.protocol import Protocol
from rcn_search.evaluation.score import Estimate, Part
from rcn_search.inference.config import upgrade_record

ENTRIES = "entries"
_NUM_READERS = 32

# One line of what Python calls printable: no control or format characters, no white space but the blank.
Line = Annotated[str, Field(max_length=200, pattern=r"^(?: |[^\p{C}\p{Z}])+$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
EntryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Percent = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Entry(Record):
    """One measured result and all that is needed to believe it.

    Attributes:
        method: Name on the leaderboard.
        protocol: How the error was measured, data set and subset among it.
        error_pct: Mean error of the images that count.
        ci_low_pct: Lower end of its 95 % interval; absent where there was nothing to resample.
        ci_high_pct: Upper end.
        num_images: Images that count.
        excluded: Images that do not, by reason.
        origin: A model of this project's code; or someone else's predictions, scored by this project's code.
        run_id: Identity of the training run (`TrainConfig.run_id`).
        config: The resolved configuration.
        fingerprint: Of the data set.
        num_params: Parameters of the model.
        multiply_adds: For one image.
        epochs: Trained.
        train_s: Training time.
        hardware: It ran on, in words.
        code_version: Of this package.
        created: When the entry was made.
        test_looks: How often this test split had been looked at, this time included.
        predictions_sha256: Of the prediction file that the error was computed from.
        predictions_uri: Where it is, if kept.
        auc: Area under the cumulative error curve up to the protocol's threshold.
        failure_rate: Share of images above the threshold.
        p90: Error that 90 % of the images do not exceed.
        p95: The same of 95 %.
        p99: The same of 99 %.
        points: Mean error of each keypoint of the schema; None where no image counts it.
        parts: Mean error of the images of a class, as in ``pose 1``.
        images_sha256: Name of the list of images on the leaderboard; absent with the next one.
        errors_sha256: Name of the errors of those images on the leaderboard; absent where only the mean is known.
        latency_ms: Median time of one face's way through the model on ``hardware``.
        made_with: How the predictions were made from the weights, as in ``decoder`` and ``tta``.
        source: Where someone else's predictions come from.
        replaces: Id of an entry of the same predictions under the same protocol that says less than this one.
    """

    schema_version: Literal[3] = 3
    method: Line
    protocol: Protocol
    error_pct: Percent
    ci_low_pct: Percent | None = None
    ci_high_pct: Percent | None = None
    num_images: int = Field(ge=1)
    excluded: dict[Line, Count] = {}
    origin: Literal["ours", "reproduced"] = "ours"
    run_id: FileName
    config: dict[str, Any]
    fingerprint: Line
    num_params: int | None = Field(None, ge=1)
    multiply_adds: int | None = Field(None, ge=1)
    epochs: Count | None = None
    train_s: float | None = Field(None, ge=0)
    hardware: Line
    code_version: Line
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    test_looks: Count
    predictions_sha256: Sha256
    predictions_uri: str | None = None
    auc: Estimate | None = None
    failure_rate: Estimate | None = None
    p90: Estimate | None = None
    p95: Estimate | None = None
    p99: Estimate | None = None
    points: tuple[Estimate | None, ...] = ()
    parts: dict[Line, Part] = {}
    images_sha256: Sha256 | None = None
    errors_sha256: Sha256 | None = None
    latency_ms: float | None = Field(None, gt=0)
    made_with: dict[Line, bool | int | float | Line] = {}
    source: Line | None = None
    replaces: EntryId | None = None

    @field_validator("made_with", mode="before")
    @classmethod
    def _in_current_words(cls, made_with: Any) -> Any:
        return upgrade_record(made_with) if isinstance(made_with, dict) else made_with

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, document: Any) -> Any:
        is_old = isinstance(document, dict) and document.get("schema_version") in (1, 2)
        return upgrade_entry(document) if is_old else document

    def supersedes(self, other: Entry) -> bool:
        """Whether this is the same measurement of the same predictions, so that it may stand in the other's place."""
        return (
            (self.method, self.protocol, self.run_id, self.predictions_sha256, self.num_images)
            == (other.method, other.protocol, other.run_id, other.predictions_sha256, other.num_images)
            and math.isclose(self.error_pct, other.error_pct, rel_tol=1e-9)
            and self.test_looks >= other.test_looks
        )


def add_entry(leaderboard: str, entry: Entry) -> str:
    """Publish ``entry``. Adding the same entry again changes nothing.

    Returns:
        Its URI.
    """
    document = entry.model_dump(mode="json")
    name = f"{entry.created.astimezone(UTC):%Y%m%dT%H%M%SZ}-{entry.run_id}-{_digest(document)}.json"
    uri = storage.join(leaderboard, ENTRIES, name)
    with contextlib.suppress(storage.ObjectExistsError):  # the name holds the hash of the content: it is this entry
        storage.write_json(uri, document, if_absent=True)
    return uri


def load_entries(leaderboard: str) -> tuple[dict[str, Entry], list[str]]:
    """All entries of ``leaderboard`` by id, and a line for every object in their folder that is not one."""
    return read_entries(leaderboard, storage.list_names(storage.join(leaderboard, ENTRIES)))


def read_entries(leaderboard: str, names: Iterable[str]) -> tuple[dict[str, Entry], list[str]]:
    """The entries among objects of the folder by id, and a line for every one that is none."""
    names = [name for name in names if not name.startswith(".")]
    if storage.is_local(leaderboard):
        read = [_read_entry(leaderboard, name) for name in names]
    else:
        with ThreadPoolExecutor(_NUM_READERS) as pool:  # an object store answers many as quickly as one
            read = list(pool.map(partial(_read_entry, leaderboard), names))
    found = zip(names, read, strict=True)
    entries = {name.removesuffix(".json"): entry for name, entry in found if isinstance(entry, Entry)}
    return entries, [problem for problem in read if isinstance(problem, str)]


def _read_entry(leaderboard: str, name: str) -> Entry | str:
    """The entry, or why it is none."""
    uri = storage.join(leaderboard, ENTRIES, name)
    try:
        if not name.endswith(".json"):
            raise ValueError("not a .json object")
        document = storage.read_json(uri)
        entry = Entry.model_validate(document)
        if not name.endswith(f"-{_digest(document)}.json"):
            raise ValueError("its content was changed, or it was renamed, after it was added")
    except (ValueError, OSError, RecursionError) as error:
        return f"{uri} is left out: {_first_line(error)}"
    return entry


def _digest(document: Any) -> str:
    return canonical_hash(document)[:12]


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "it"
        return f"not an entry of schema version 1, 2 or 3: {place}: {problem['msg']}"
    return str(error).splitlines()[0]
