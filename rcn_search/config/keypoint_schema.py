"""Load a keypoint schema from a YAML file or by the name of a built-in one; errors name file, line and key."""

from __future__ import annotations

from rcn_search import storage
from rcn_search.config.errors import ConfigError, location
from rcn_search.config.loading import read_yaml
from rcn_search.keypoint_schemas.document import SchemaError, parse_schema
from rcn_search.keypoints import SCHEMAS, KeypointSchema


def load_schema(name_or_uri: str) -> KeypointSchema:
    """Load a schema from a file or URI, or a built-in one by its name where no such file exists.

    Raises:
        ConfigError: There is no such file, or it is no schema; the message names file, line and key.
    """
    if not storage.exists(name_or_uri):
        if name_or_uri in SCHEMAS:
            return SCHEMAS[name_or_uri]
        raise ConfigError(f"{name_or_uri}: no such file; the built-in keypoint schemas are {', '.join(SCHEMAS)}")
    document, lines = read_yaml(name_or_uri)
    try:
        return parse_schema(document)
    except SchemaError as error:
        raise ConfigError(f"{location(name_or_uri, lines, error.path)}: {error}") from error
