"""User names, passwords and keys in URIs: refused where a URI is used, removed where one is stored or shown.

A URI becomes part of configurations, checkpoints, entries, pages and messages, which others read. Credentials belong
in the environment, where every store of fsspec looks for them.
"""

from __future__ import annotations

import re
from typing import Any

from rcn_search.storage.errors import StorageError

# Scheme and user information: everything before the last @ of the host. The secret keys of AWS hold slashes, so after
# a colon that begins no port it may extend to a later @.
_USER_INFO = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*)://([^\s/?#]*@|[^\s/?#@:\[]+:(?!\d{1,5}(?:[/?#\s]|$))[^\s@]*@)")
_CONTAINER_SCHEMES = {"abfs", "abfss", "wasb", "wasbs", "github"}
"""Here the name before the @ is no user, but a container or a repository."""


def hide_user_info(text: str) -> str:
    """Remove the user information of every URI in a text.

    >>> hide_user_info("http://me:secret@host/data is damaged")
    'http://host/data is damaged'
    """
    return _USER_INFO.sub(_without, text) if "@" in text and "://" in text else text


def refuse_user_info(uri: str) -> str:
    """Return ``uri``; `StorageError` if it holds a user name, a password or a key, which the message does not show."""
    hidden = hide_user_info(uri)
    if hidden != uri:
        raise StorageError(
            f"{hidden} was given with a user name, a password or a key in it, and URIs are stored and shown: leave it "
            "out, and set credentials in the environment"
        )
    return uri


def without_user_info(document: Any) -> Any:
    """Copy a JSON document without the user information in the URIs among its values."""
    if isinstance(document, dict):
        return {key: without_user_info(value) for key, value in document.items()}
    if isinstance(document, list):
        return [without_user_info(value) for value in document]
    return hide_user_info(document) if isinstance(document, str) else document


def _without(match: re.Match[str]) -> str:
    scheme, user_info = match.groups()
    is_container = scheme.lower() in _CONTAINER_SCHEMES and (scheme.lower() == "github" or ":" not in user_info)
    is_drive = scheme.lower() == "file" and user_info[1:2] == ":"
    return match[0] if is_container or is_drive else f"{scheme}://"
