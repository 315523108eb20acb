"""Who may write to a destination: one source, named by an object that is put there before the first shard.

    DEST/import.json              put-if-absent: name and source_fingerprint of the import that DEST belongs to

It stays. Any process of that very import may write the shards, again or at once: they are the same bytes. Whether a
process of another one is still alive nobody can know, so its destination is never taken over.
"""

from __future__ import annotations

from contextlib import suppress

from rcn_search import storage
from rcn_search.data.shards import MANIFEST_NAME, SHARD_FOLDER, DatasetError, Manifest, read_manifest

CLAIM_NAME = "import.json"


def claim_destination(uri: str, *, name: str, source_fingerprint: str) -> Manifest | None:
    """Take a destination before writing to it.

    Returns:
        The manifest where this very data set is already there, whole; None where it can be written (an interrupted
        import's shards are simply written again).

    Raises:
        DatasetError: Another data set, another import or files that are not ours are there, or it is a file.
    """
    if storage.is_local(uri) and storage.local_path(uri).is_file():
        raise DatasetError(f"{uri} is a file; choose an empty folder")
    if storage.exists(storage.join(uri, MANIFEST_NAME)):
        there = read_manifest(uri)
        if (there.name, there.source_fingerprint) == (name, source_fingerprint):
            return there
        raise DatasetError(
            f"{uri} already holds the data set {there.name!r} (fingerprint {there.fingerprint}); "
            "choose another destination or remove it first"
        )
    names = storage.list_names(uri)
    if alien := sorted(set(names) - ({CLAIM_NAME, SHARD_FOLDER} if CLAIM_NAME in names else set())):
        raise DatasetError(f"{uri} is not empty (it holds {alien[0]!r}); choose an empty destination")
    place, claim = storage.join(uri, CLAIM_NAME), {"name": name, "source_fingerprint": source_fingerprint}
    with suppress(storage.ObjectExistsError):
        storage.write_json(place, claim, if_absent=True)
    if storage.read_json(place) != claim:
        raise DatasetError(
            f"{uri} belongs to another import, of other faces or with other options, that has not finished; choose "
            "another destination, or remove this one if that import is not running"
        )
    return None
