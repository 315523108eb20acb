"""What leads to the object store, from the driver of a search or training to every process that works for it.

The processes of a Ray cluster have the environment of the ``ray start`` of their node, not that of the driver. So the
driver's ``AWS_…`` variables, and the fixed keys of its profile, go to each of them, and are put into its environment
before it reads or writes anything.

Ray's own way for that, ``runtime_env``, would write the keys into Ray's logs, into the tables that its dashboard shows,
and onto the command line of each process; and Ray Tune takes that way by itself, unasked (`keep_from_tune`). Here they
travel as a value in the object store's memory or as an argument of an actor's method, of neither of which Ray keeps a
record. Arguments of an actor's start and configurations of a trial are recorded: they are no place for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ray.tune.execution import class_cache

_PREFIX = "AWS_"
# They name a file or a service of one machine, and are not the same on another.
_OF_THE_MACHINE = (
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
# Whoever gets one of them may keep none of the others: a session token belongs to its key, a profile beside keys must
# exist, and the endpoint of S3 alone comes before the general one.
_TOGETHER = (
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
_FIXED = {"env", "shared-credentials-file", "config-file"}
"""Where botocore finds keys that stay as they are; others (roles, single sign-on) it must renew where they are used."""


@dataclass(frozen=True, repr=False)
class Credentials:
    """Variables that are to be set in a process that works for the driver.

    Attributes:
        variables: By name; secrets among them.
    """

    variables: Mapping[str, str]

    def __repr__(self) -> str:
        return f"StoreAccess({', '.join(sorted(self.variables))})"

    @classmethod
    def from_environment(cls, *uris: str) -> Credentials:
        """That of this process, if one of those places is on S3; else nothing, for nobody needs it."""
        if not any(uri.startswith(("s3://", "s3a://")) for uri in uris):
            return cls({})
        told = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
        return cls(_of_profile() | {name: told[name] for name in told if not name.startswith(_OF_THE_MACHINE)})

    def apply_to_environment(self) -> None:
        """Set them here. They come before what the node has: the driver has tried them, and all must use one store."""
        for names in _TOGETHER:
            if names & self.variables.keys():
                for name in names:
                    os.environ.pop(name, None)
        os.environ.update(self.variables)


def _of_profile() -> dict[str, str]:
    """What botocore has from ``~/.aws``, by the names of variables."""
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.session import get_session

    session = get_session()
    found = {
        "AWS_DEFAULT_REGION": session.get_config_variable("region"),
        "AWS_ENDPOINT_URL_S3": ConfiguredEndpointProvider(
            session.full_config, session.get_scoped_config(), client_name="s3"
        ).provide(),
        "AWS_REQUEST_CHECKSUM_CALCULATION": session.get_config_variable("request_checksum_calculation"),
    }
    if (credentials := session.get_credentials()) and credentials.method in _FIXED:
        found["AWS_ACCESS_KEY_ID"] = credentials.access_key
        found["AWS_SECRET_ACCESS_KEY"] = credentials.secret_key
        found["AWS_SESSION_TOKEN"] = credentials.token
    return {name: value for name, value in found.items() if value}


def disable_tune_env_propagation() -> None:
    """Let Ray Tune give its actors no ``runtime_env``: neither the keys of this process, nor what else it puts there.

    An actor without one also starts in a process that Ray has ready, a second sooner.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.clear()
    class_cache.DEFAULT_ENV_VARS.clear()
