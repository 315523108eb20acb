"""The keypoint schema in a manifest: whole for readers, and no reason for another fingerprint if it is built in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rcn_search.data.importers.points.importer import PointsImporter, PointsOptions
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError, _fingerprint, read_manifest
from rcn_search.keypoint_schemas.document import parse_schema, schema_document
from rcn_search.keypoints import FIVE
from tests.support.points import SCHEMA_TEXT, draw_kites, write_csv


def rewrite(uri: str, out: Path, **changes: Any) -> str:
    """Copy a manifest with changes; None removes a field. Its fingerprint is that of the original."""
    document = json.loads((Path(uri) / "manifest.json").read_text()) | changes
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return str(out)


def test_manifest_of_a_built_in_schema_keeps_the_fingerprint_from_before(synthetic_uri: str, tmp_path: Path) -> None:
    manifest = read_manifest(synthetic_uri)
    assert manifest.schema_document == schema_document(FIVE)
    old = read_manifest(rewrite(synthetic_uri, tmp_path / "old", schema_document=None))
    assert old.schema_document is None
    assert (old.fingerprint, old.keypoint_schema) == (manifest.fingerprint, manifest.keypoint_schema)


def test_manifest_of_an_own_schema_counts_it(tmp_path: Path) -> None:
    write_csv(tmp_path, draw_kites(tmp_path, 4))
    kite = parse_schema(yaml.safe_load(SCHEMA_TEXT))
    uri = str(tmp_path / "K")
    manifest = import_dataset(PointsImporter(tmp_path, kite, PointsOptions(layout="csv")), uri).manifest
    assert read_manifest(uri).keypoint_schema == kite
    other = schema_document(kite) | {"flip": []}
    with pytest.raises(DatasetError, match="does not match its own fingerprint"):
        read_manifest(rewrite(uri, tmp_path / "edited", schema_document=other))
    with pytest.raises(DatasetError, match="unknown keypoint schema 'kite'"):
        read_manifest(rewrite(uri, tmp_path / "lost", schema_document=None))
    document = json.loads((tmp_path / "K" / "manifest.json").read_text())
    assert _fingerprint(document | {"crop_px": 200}) != manifest.fingerprint
