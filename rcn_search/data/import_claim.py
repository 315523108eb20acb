"""Claim a destination for one import, by an object that is written before the first shard.

    URI/import_claim.json         put-if-absent: name and source_fingerprint of the import that owns URI

The claim is permanent. Several processes of the same import may write the shards, even at the same time, because they
write the same bytes. The destination of another import is never taken over, because its process may still be running.
"""

from __future__ import annotations

from contextlib import suppress

from rcn_search import storage
from rcn_search.data.shards import MANIFEST_NAME, SHARD_FOLDER, DatasetError, Manifest, read_manifest

CLAIM_NAME = "import_claim.json"


def claim_destination(uri: str, *, name: str, source_fingerprint: str) -> Manifest | None:
    """Claim a destination before writing to it.

    Returns:
        The manifest if the destination holds this data set already; None if the data set is to be written (the shards
        of an interrupted import are written again).

    Raises:
        DatasetError: The destination holds another data set, another import or other files, or it is a file.
    """
    if storage.is_local(uri) and storage.local_path(uri).is_file():
        raise DatasetError(f"{uri} is a file; choose an empty folder")
    if storage.exists(storage.join(uri, MANIFEST_NAME)):
        existing = read_manifest(uri)
        if (existing.name, existing.source_fingerprint) == (name, source_fingerprint):
            return existing
        raise DatasetError(
            f"{uri} already holds the data set {existing.name!r} (fingerprint {existing.fingerprint}); "
            "choose another destination or remove it first"
        )
    names = storage.list_names(uri)
    if others := sorted(set(names) - ({CLAIM_NAME, SHARD_FOLDER} if CLAIM_NAME in names else set())):
        raise DatasetError(f"{uri} is not empty (it holds {others[0]!r}); choose an empty destination")
    claim_uri, claim = storage.join(uri, CLAIM_NAME), {"name": name, "source_fingerprint": source_fingerprint}
    with suppress(storage.ObjectExistsError):
        storage.write_json(claim_uri, claim, if_absent=True)
    if storage.read_json(claim_uri) != claim:
        raise DatasetError(
            f"{uri} belongs to another import, of other faces or with other options, which has not finished; choose "
            "another destination, or remove this one if that import is not running"
        )
    return None
