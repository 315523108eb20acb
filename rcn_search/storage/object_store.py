"""Objects on an object store, through fsspec: with time limits, retries of transient errors, and explained errors.

Endpoint, region and credentials are those of every AWS tool. No message contains a secret.

A put-if-absent on S3 is a put with If-None-Match. The object carries a random mark of its writer in its metadata: when
the answer to a put is lost and the next attempt finds the name taken, the mark tells whether that same put took it.
OpenStack Swift checks the condition when a put begins, not when it ends, so simultaneous writers all seem to win. There
the writer waits for puts under way, then checks the mark: Swift keeps the object of the last put.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from rcn_search.storage import retry
from rcn_search.storage.errors import ObjectExistsError, RemoteError, StorageError
from rcn_search.storage.local import too_large
from rcn_search.storage.retry import cause_chain, http_error, with_retries
from rcn_search.storage.user_info import hide_user_info, refuse_user_info

Result = TypeVar("Result")

_MARK = "rcn-search-writer"
_SWIFT_HEADER = "x-openstack-request-id"
_SETTLE_S = 0.25
_CONNECT_S = 5.0
_NUM_CONNECTIONS = 32
_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the processes of a job."""
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_stores_lock = threading.Lock()
_stores: dict[tuple[Any, ...], _Store] = {}


def read(uri: str, max_bytes: int | None = None) -> bytes:
    """Read a whole object in one request; `StorageError` if it has more than ``max_bytes``."""
    if max_bytes is None:
        return bytes(_run(uri, "reading", lambda store, path: store.call("cat_file", path, **store.in_one_request)))
    content = read_range(uri, 0, max_bytes + 1, num_bytes=0)  # most such objects are far smaller
    if len(content) > max_bytes:
        raise too_large(uri, max_bytes)
    return content


def read_range(uri: str, start: int, stop: int, *, num_bytes: int | None = None) -> bytes:
    """Read a part of an object, as much of it as exists; the time limit is that of ``num_bytes``, or of the part."""
    num_bytes = stop - start if num_bytes is None else num_bytes

    def get(store: _Store, path: str) -> bytes:
        try:
            return bytes(store.call("cat_file", path, start=start, end=stop, num_bytes=num_bytes))
        except OSError as error:
            if http_error(error)[0] == 416:  # the object ends before the range
                return b""
            raise

    return _run(uri, "reading", get)


def write(uri: str, content: bytes) -> None:
    """Put a whole object, replacing an existing one."""
    _run(uri, "writing", lambda store, path: store.call("pipe_file", path, content, num_bytes=len(content)))


def create(uri: str, content: bytes) -> None:
    """Put an object whose name is free; ObjectExistsError if it is taken."""
    mark = uuid.uuid4().hex
    if not _run(uri, "writing", lambda store, path: store.create(path, content, mark)):
        raise ObjectExistsError(f"{uri} exists already")


def exists(uri: str) -> bool:
    """Whether there is an object or a folder."""
    return bool(_run(uri, "looking up", lambda store, path: store.call("exists", path)))


def names(uri: str) -> list[str]:
    """List the names directly in a folder; empty where there is no such folder."""
    try:
        paths = _run(uri, "listing", lambda store, path: store.call("ls", path, detail=False))
    except FileNotFoundError:
        return []
    return [str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths]


def delete(uri: str) -> None:
    """Delete one object, if it exists."""
    with suppress(FileNotFoundError):
        _run(uri, "deleting", lambda store, path: store.call("rm_file", path))


class _Store:
    """A connection to a store, shared by all threads of a process."""

    def __init__(self, filesystem: Any) -> None:
        self.filesystem = filesystem
        self.is_s3 = "s3" in filesystem.protocol
        # s3fs first asks for the size, in a request of its own, unless it must not split the object.
        self.in_one_request: dict[str, Any] = {"max_concurrency": 1} if self.is_s3 else {}

    def call(self, method: str, *args: Any, num_bytes: int = 0, **kwargs: Any) -> Any:
        """Call a method of the file system; TimeoutError after the time limit of a request of ``num_bytes``."""
        if not self.filesystem.async_impl:
            return getattr(self.filesystem, method)(*args, **kwargs)
        limit_s = retry.LIMITS.attempt_limit_s(num_bytes)
        import asyncio  # loaded by the file system

        coroutine = getattr(self.filesystem, f"_{method}")(*args, **kwargs)
        future = asyncio.run_coroutine_threadsafe(coroutine, self.filesystem.loop)
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {limit_s:.0f} s") from (error.__cause__ or error)
        finally:
            future.cancel()  # has no effect on a finished one

    def create(self, path: str, content: bytes, mark: str) -> bool:
        """Put if absent; return whether the stored object is the one with this mark."""
        if not self.is_s3:
            if self.call("exists", path):
                return False
            try:
                self.call("pipe_file", path, content, mode="create", num_bytes=len(content))
            except FileExistsError:
                return False
            return True
        if (existing := self._mark(path)) is not None:  # protects the object on stores that ignore the condition
            return existing == mark
        started = time.monotonic()
        try:
            reply = self.call("pipe_file", path, content, mode="create", Metadata={_MARK: mark}, num_bytes=len(content))
        except OSError as error:
            if isinstance(error, FileExistsError) or http_error(error)[0] == 412:
                return self._mark(path) == mark
            raise
        if _SWIFT_HEADER in reply["ResponseMetadata"]["HTTPHeaders"]:
            # A put that began before this one ended takes about as long; one that begins later cannot win.
            time.sleep(max(_SETTLE_S, 2 * (time.monotonic() - started)))
            return self._mark(path) == mark
        return True

    def _mark(self, path: str) -> str | None:
        """Read the writer's mark of an object: empty if it has none, None if there is no object."""
        bucket, key, _ = self.filesystem.split_path(path)
        try:
            head = self.call("call_s3", "head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        return str(head["Metadata"].get(_MARK, ""))


def _run(uri: str, action: str, operation: Callable[[_Store, str], Result]) -> Result:
    """Run an operation with retries, and explain its error."""
    refuse_user_info(uri)
    started = time.monotonic()
    try:
        store, path = _connect(uri)
        return with_retries(lambda: operation(store, path))
    except (ValueError, ImportError) as error:  # fsspec's, of a protocol
        raise StorageError(f"{uri}: {error}") from error
    except Exception as error:  # back ends have classes of their own for missing credentials or servers
        raise _explained(uri, action, error, time.monotonic() - started) from error


def _connect(uri: str) -> tuple[_Store, str]:
    import fsspec.core  # not before an object store is used: its import takes a tenth of that of most commands

    protocol = uri.partition("://")[0]
    options: dict[str, Any] = {"use_listings_cache": False}  # other processes write as well
    if protocol not in ("s3", "s3a"):
        filesystem, path = fsspec.core.url_to_fs(uri, **options)
        return _Store(filesystem), path
    # fsspec would open a connection for each thread, and keep an old one after the environment has changed.
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    key = (os.getpid(), protocol, *sorted(settings.items()))
    with _stores_lock:
        if key not in _stores:
            _stores[key] = _connect_s3(options, settings)
    store = _stores[key]
    return store, store.filesystem._strip_protocol(uri)


def _connect_s3(options: dict[str, Any], settings: Mapping[str, str]) -> _Store:
    import fsspec

    region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION")  # botocore reads the second only
    filesystem = fsspec.filesystem(
        "s3",
        **options,
        skip_instance_cache=True,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": _CONNECT_S,
            "read_timeout": retry.LIMITS.attempt_s,
            "max_pool_connections": _NUM_CONNECTIONS,
            "retries": {"total_max_attempts": 1},  # `with_retries` repeats, within its own time limit
        },
    )
    filesystem.retries = 1
    return _Store(filesystem)


def _explained(uri: str, action: str, error: Exception, after_s: float) -> OSError:
    """Build the error to raise: which object, what went wrong, and what to do about it."""
    status, code = http_error(error)
    cause = _without_secrets(" ".join(str(error).split()) or type(error).__name__)
    bucket = uri.partition("://")[2].partition("/")[0]
    if code == "NoSuchBucket":
        return RemoteError(f"{uri}: there is no bucket {bucket!r}; create it, or correct the name")
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(f"{uri}: there is no such object")
    text = f"{uri}: {action} it failed after {after_s:.0f} s: {cause}"
    if isinstance(error, PermissionError) or status in (401, 403):
        return PermissionError(
            f"{text}. Check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE), that they may list, read, write and "
            f"delete in {bucket!r}, and this machine's clock"
        )
    if any("Credential" in type(each).__name__ for each in cause_chain(error)):
        where = ""
        if _RAY_JOB in os.environ:
            where = " in the environment of ray start, on every node: a Ray job has none of the shell that submits it"
        return PermissionError(f"{text}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE{where}")
    if any("EndpointConnection" in type(each).__name__ for each in cause_chain(error)):
        return ConnectionError(f"{text}. Check AWS_ENDPOINT_URL and that the server is running")
    kind = TimeoutError if isinstance(error, TimeoutError) else RemoteError
    remedy = "The store is overloaded or unreachable; try again later" if retry.is_transient(error) else ""
    return kind(f"{text}. {remedy}".removesuffix(". "))


def _without_secrets(text: str) -> str:
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return hide_user_info(text)  # of AWS_ENDPOINT_URL or of a proxy
