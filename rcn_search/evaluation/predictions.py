"""Prediction files: one Parquet row per image with true and predicted points, from which every figure is computed.

Array names end in their axes: n images, k keypoints, 2 for x and y.
"""

from __future__ import annotations

import hashlib
import io
import json
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rcn_search import storage
from rcn_search.config.legacy import upgrade_config, upgrade_inference
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.bounded_parquet import MAX_FILE_BYTES, read_columns, text_values
from rcn_search.keypoints import KeypointSchema, resolve_schema

if TYPE_CHECKING:
    import pyarrow as pa

# Functions import pyarrow, because its import takes a quarter of a second and `Predictions` does not need it.

SCHEMA_VERSION = 2
METADATA_KEY = b"rcn_search"
REQUIRED_META = ("dataset", "subset", "split", "fingerprint", "keypoints", "grid_px", "run_id", "method")

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of a method for the n images of one subset, with the true points.

    Attributes:
        image_id: (n,) unique names.
        group: (n,) identity or photograph; images of one group are not independent.
        box: (n, 4) x, y, width, height of the stored crop in the original image.
        face_box: (n, 4) x, y, width, height in crop pixels of what the network sees.
        visible: (n, k) whether a point is annotated as visible.
        true_crop_nk2: Points in crop pixels, sub-pixel; pixel i covers [i, i + 1).
        true_image_nk2: Points in pixels of the original image.
        pred_cell_nk2: Column and row of the predicted cell of the network's grid.
        edge_nk: At which edge of its photograph a point is annotated (`Sample.edge`); None: at none.
        photo_n4: Part of each crop that shows the photograph (`Sample.photo`); None: all of it.
        radius_nk: Radius around each predicted point that holds the true point with the probability for which the
            checkpoint was calibrated, in pixels of the original image; None: it was not.
        attributes: Class of each image, (n,) small integers, by name of the attribute, as in ``pose``.
        meta: Origin of the predictions; at least `REQUIRED_META`. ``keypoints`` names the schema,
            ``schema_document`` is the schema itself if it is not a built-in one, ``grid_px`` is the
            side of the grid of ``pred_cell_nk2``, ``decoder`` and ``tta`` are those of `InferenceConfig.record`,
            ``calibration`` says on which images the radii were fitted.

    Raises:
        RcnSearchError: A shape does not fit, an image id is not unique, or ``meta`` lacks a key.
    """

    image_id: NDArray[np.str_]
    group: NDArray[np.str_]
    box: Floats
    face_box: Floats
    visible: NDArray[np.bool_]
    true_crop_nk2: Floats
    pred_crop_nk2: Floats
    true_image_nk2: Floats
    pred_image_nk2: Floats
    pred_cell_nk2: NDArray[np.int16]
    confidence_nk: Floats
    edge_nk: NDArray[np.uint8] | None = None
    photo_n4: Floats | None = None
    radius_nk: Floats | None = None
    attributes: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    meta: dict[str, Any]

    def __post_init__(self) -> None:
        if missing := [key for key in REQUIRED_META if key not in self.meta]:
            raise RcnSearchError(f"predictions: meta lacks {', '.join(missing)}")
        num_images, num_points = len(self.image_id), self.schema.num_points
        for name, shape in _shapes(num_images, num_points).items():
            values = getattr(self, name)
            if values is None and name in _OPTIONAL:
                continue
            if values.shape != shape:
                raise RcnSearchError(
                    f"predictions: {name} has shape {values.shape}; {num_images} images with the "
                    f"{num_points} points of {self.schema.name!r} need {shape}"
                )
        if self.radius_nk is not None and not (np.isfinite(self.radius_nk) & (self.radius_nk >= 0)).all():
            raise RcnSearchError("predictions: radius_nk has values that are no lengths")
        for name, values in self.attributes.items():
            if values.shape != (num_images,):
                raise RcnSearchError(f"predictions: attribute {name!r} has shape {values.shape}, not ({num_images},)")
        names, counts = np.unique(self.image_id, return_counts=True)
        if num_images and counts.max() > 1:
            raise RcnSearchError(f"predictions: image_id {str(names[counts.argmax()])!r} occurs {counts.max()} times")

    def __len__(self) -> int:
        """Number of images n."""
        return len(self.image_id)

    @property
    def schema(self) -> KeypointSchema:
        """Keypoint schema of the k points."""
        return _schema(self.meta)


def _schema(meta: dict[str, Any]) -> KeypointSchema:
    return resolve_schema(meta["keypoints"], meta.get("schema_document"))


# Column of the file to field of `Predictions`, type of its items, and axes.
_STRINGS = ("image_id", "group")
_LISTS: dict[str, tuple[str, str, str]] = {
    "box": ("box", "float32", "n4"),
    "face_box": ("face_box", "float32", "n4"),
    "visible": ("visible", "bool", "nk"),
    "true_crop": ("true_crop_nk2", "float32", "nk2"),
    "pred_crop": ("pred_crop_nk2", "float32", "nk2"),
    "true_image": ("true_image_nk2", "float32", "nk2"),
    "pred_image": ("pred_image_nk2", "float32", "nk2"),
    "pred_cell": ("pred_cell_nk2", "int16", "nk2"),
    "confidence": ("confidence_nk", "float32", "nk"),
    "edge": ("edge_nk", "uint8", "nk"),
    "photo": ("photo_n4", "float32", "n4"),
    "radius": ("radius_nk", "float32", "nk"),
}
_OPTIONAL = ("edge_nk", "photo_n4", "radius_nk")
_ATTRIBUTE = "attr_"


def _shapes(num_images: int, num_points: int) -> dict[str, tuple[int, ...]]:
    sizes = {"n": num_images, "k": num_points, "2": 2, "4": 4}
    lists = {name: tuple(sizes[axis] for axis in axes) for name, _, axes in _LISTS.values()}
    return {"group": (num_images,), **lists}


def write_predictions(predictions: Predictions, uri: str) -> str:
    """Write a prediction file, whole or not at all; return its SHA-256."""
    content = encode_predictions(predictions)
    storage.write_bytes(uri, content)
    return hashlib.sha256(content).hexdigest()


def encode_predictions(predictions: Predictions) -> bytes:
    """Encode predictions as a prediction file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, pa.Array] = {
        name: pa.array(getattr(predictions, name).tolist(), pa.string()) for name in _STRINGS
    }
    for column, (name, item, _) in _LISTS.items():
        if (values := getattr(predictions, name)) is not None:
            flat = pa.array(values.reshape(-1), pa.type_for_alias(item))
            columns[column] = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
    for name, values in predictions.attributes.items():
        columns[_ATTRIBUTE + name] = pa.array(values, pa.int8())
    meta_document = storage.without_user_info(predictions.meta) | {"schema_version": SCHEMA_VERSION}
    meta = json.dumps(meta_document, sort_keys=True, allow_nan=False)
    stream = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata({METADATA_KEY: meta.encode()}), stream)
    return stream.getvalue()


def read_predictions(uri: str) -> Predictions:
    """Read a prediction file of this or an older version.

    Raises:
        FileNotFoundError: There is no such file.
        RcnSearchError: It is not a prediction file, of a newer version, or a column is missing or does not fit.
    """
    return decode_predictions(uri, storage.read_bytes(uri, max_bytes=MAX_FILE_BYTES))


def decode_predictions(uri: str, content: bytes) -> Predictions:
    """Decode the prediction file that was read from ``uri``, as `read_predictions` does."""
    import pyarrow as pa

    try:
        table = read_columns(content, _STRINGS, _is_read)
        meta = _read_meta(table.schema.metadata or {})
        shapes = _shapes(len(table), _schema(meta).num_points)
        arrays: dict[str, Any] = {name: text_values(_column(table, name)) for name in _STRINGS}
        for column, (name, item, _) in _LISTS.items():
            if column in table.column_names or name not in _OPTIONAL:
                arrays[name] = _read_lists(table, column, item, shapes[name])
        attributes = {
            name.removeprefix(_ATTRIBUTE): _column(table, name).cast(pa.int8()).to_numpy()
            for name in table.column_names
            if name.startswith(_ATTRIBUTE)
        }
        return Predictions(**arrays, attributes=attributes, meta=meta)
    except (ValueError, pa.ArrowException) as error:
        raise RcnSearchError(f"{uri}: {error}") from error


def _is_read(column: str) -> bool:
    return column in _STRINGS or column in _LISTS or column.startswith(_ATTRIBUTE)


def _read_meta(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    if METADATA_KEY not in metadata:
        raise RcnSearchError("no rcn_search metadata; this Parquet file was not written by `rcn-search evaluate`")
    meta = storage.without_user_info(storage.decode_json("its metadata", metadata[METADATA_KEY]))
    version = meta.get("schema_version") if isinstance(meta, dict) else None
    if version == 1:
        meta = upgrade_inference(meta)
        if isinstance(meta.get("config"), dict):
            meta["config"] = upgrade_config(meta["config"])
    elif version != SCHEMA_VERSION:
        raise RcnSearchError(
            f"prediction file of schema version {version}; this rcn-search reads versions 1 and {SCHEMA_VERSION}"
        )
    if missing := [key for key in REQUIRED_META if key not in meta]:
        raise RcnSearchError(f"metadata lacks {', '.join(missing)}")
    for key in REQUIRED_META:
        wanted = int if key == "grid_px" else str
        if type(meta[key]) is not wanted:
            raise RcnSearchError(f"{key} in the metadata is {reprlib.repr(meta[key])}, not {wanted.__name__}")
    return meta  # type: ignore[no-any-return]


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise RcnSearchError(f"no column {name!r}")
    column = table.column(name)
    if column.null_count:
        raise RcnSearchError(f"column {name!r} has {column.null_count} empty values")
    return column


def _read_lists(table: pa.Table, name: str, item: str, shape: tuple[int, ...]) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(table, name)
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        raise RcnSearchError(f"column {name!r} has {column.type} values; it needs lists")
    length = int(np.prod(shape[1:]))
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if lengths not in ([length], []):
        raise RcnSearchError(f"column {name!r} has lists of {lengths} values; the keypoints of the file need {length}")
    flat = pc.list_flatten(column)
    if flat.null_count:
        raise RcnSearchError(f"column {name!r} has {flat.null_count} empty values")
    values: NDArray[Any] = flat.cast(pa.type_for_alias(item)).to_numpy()
    return values.reshape(shape)
