"""Credentials of the object store, handed from the process that starts a search or training to all that work for it.

The processes of a Ray cluster have the environment of their node's ``ray start``, so they are sent the ``AWS_…``
variables and fixed keys of the search process: in the object store or as an argument of an actor's method, because Ray
records a ``runtime_env``, constructor arguments and trial configurations.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

# Prefixes of variables that name a file or a service of one machine, and mean something else on another.
_MACHINE_SPECIFIC = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_",
    "AWS_CONTAINER_",
    "AWS_EC2_METADATA_",
)
# A process that is sent one variable of a set must keep none of its own: a session token belongs to its key, a profile
# is looked up even beside keys, and the endpoint of S3 overrides the general one.
_SETS = (
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
    },
    {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"},
    {"AWS_REGION", "AWS_DEFAULT_REGION"},
)
# Botocore's names of sources whose keys do not expire; others (roles, single sign-on) are renewed where they are used.
_FIXED_METHODS = {"env", "shared-credentials-file", "config-file"}


@dataclass(frozen=True, repr=False)
class Credentials:
    """Environment variables, secrets among them, for processes that work for this one."""

    variables: Mapping[str, str]

    def __repr__(self) -> str:
        """The names alone, because representations end up in logs."""
        return f"Credentials({', '.join(sorted(self.variables))})"

    @classmethod
    def from_environment(cls, *uris: str) -> Credentials:
        """Collect those of this process if one of the URIs is on S3; else none, as nobody needs them."""
        if not any(uri.startswith(("s3://", "s3a://")) for uri in uris):
            return cls({})
        variables = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("AWS_") and not name.startswith(_MACHINE_SPECIFIC)
        }
        return cls(_read_profile() | variables)

    def apply_to_environment(self) -> None:
        """Set the variables in this process; they override those of the node, because all must use one store."""
        for names in _SETS:
            if names & self.variables.keys():
                for name in names:
                    os.environ.pop(name, None)
        os.environ.update(self.variables)


def _read_profile() -> dict[str, str]:
    """Read what botocore finds in ``~/.aws``, as environment variables."""
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.session import get_session

    session = get_session()
    endpoint = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), client_name="s3")
    variables = {
        "AWS_DEFAULT_REGION": session.get_config_variable("region"),
        "AWS_ENDPOINT_URL_S3": endpoint.provide(),
        "AWS_REQUEST_CHECKSUM_CALCULATION": session.get_config_variable("request_checksum_calculation"),
    }
    if (credentials := session.get_credentials()) and credentials.method in _FIXED_METHODS:
        variables["AWS_ACCESS_KEY_ID"] = credentials.access_key
        variables["AWS_SECRET_ACCESS_KEY"] = credentials.secret_key
        variables["AWS_SESSION_TOKEN"] = credentials.token
    return {name: value for name, value in variables.items() if value}
