"""Objects on an object store, through fsspec: bounded in time, repeated where that helps, explained where it does not.

Connections take endpoint, region and credentials from where every AWS tool has them (environment variables, profile,
instance role). Nothing of them is kept here but in the memory of this process, and none of it is in a message.

A put-if-absent on S3 is a put with If-None-Match. Two things are added to it. The object bears a random mark of its
writer: when the answer to a put was lost on the way and the next attempt finds the name taken, the mark tells whether
by that very put. And on OpenStack Swift, which looks at the condition when a put begins and not when it ends, so that
of two at the same moment both are told that they won, the writer waits for puts that were under way and then looks
whose object is there: Swift keeps one of them (the one that came last), and every reader sees that one.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import fsspec

from rcn_search.storage import retry as storage_retry
from rcn_search.storage.retry import answer, causes, retried

Result = TypeVar("Result")

_MARK = "rcn-search-writer"
_SWIFT_HEADER = "x-openstack-request-id"
_SETTLE_S = 0.25
_CONNECT_S = 5.0
_NUM_CONNECTIONS = 32
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_open_lock = threading.Lock()
_opened: dict[tuple[Any, ...], Any] = {}


class ObjectExistsError(FileExistsError):
    """Put-if-absent found an object of that name; nothing was written."""


def read(uri: str) -> bytes:
    """The whole object, in one request."""
    return bytes(_run(uri, "reading", lambda store, path: store.call("cat_file", path, **store.in_one_request)))


def read_range(uri: str, start: int, stop: int) -> bytes:
    """A part of an object, or what there is of it."""

    def get(store: _Store, path: str) -> bytes:
        try:
            return bytes(store.call("cat_file", path, start=start, end=stop, num_bytes=stop - start))
        except OSError as error:
            if answer(error)[0] == 416:  # it ends before
                return b""
            raise

    return _run(uri, "reading", get)


def write(uri: str, content: bytes) -> None:
    """Put an object, whole, in place of what is there."""
    _run(uri, "writing", lambda store, path: store.call("pipe_file", path, content, num_bytes=len(content)))


def create(uri: str, content: bytes) -> None:
    """Put an object whose name is free.

    Raises:
        ObjectExistsError: It is taken.
    """
    mark = uuid.uuid4().hex

    def put(store: _Store, path: str) -> bool:
        return store.create(path, content, mark)

    if not _run(uri, "writing", put):
        raise ObjectExistsError(f"{uri} exists already")


def exists(uri: str) -> bool:
    """Whether there is an object or a folder."""
    return bool(_run(uri, "looking for", lambda store, path: store.call("exists", path)))


def names(uri: str) -> list[str]:
    """Names right under a folder; none where there is no such folder."""
    try:
        found = _run(uri, "listing", lambda store, path: store.call("ls", path, detail=False))
    except FileNotFoundError:
        return []
    return [str(name).rstrip("/").rsplit("/", 1)[-1] for name in found]


def remove(uri: str) -> None:
    """Remove one object; nothing happens where there is none."""
    with suppress(FileNotFoundError):
        _run(uri, "deleting", lambda store, path: store.call("rm_file", path))


class _Store:
    """A connection to a store; for all threads of a process."""

    def __init__(self, filesystem: Any) -> None:
        self.filesystem = filesystem
        self.is_s3 = "s3" in filesystem.protocol
        # s3fs asks for the size first, in a request of its own, unless it must not split the object.
        self.in_one_request: dict[str, Any] = {"max_concurrency": 1} if self.is_s3 else {}

    def call(self, method: str, *args: Any, num_bytes: int = 0, **kwargs: Any) -> Any:
        """A method of the file system, ended when it takes longer than it may.

        Raises:
            TimeoutError: It did.
        """
        if not self.filesystem.async_impl:
            return getattr(self.filesystem, method)(*args, **kwargs)
        limit_s = storage_retry.LIMITS.attempt_limit_s(num_bytes)
        coroutine = getattr(self.filesystem, f"_{method}")(*args, **kwargs)
        future = asyncio.run_coroutine_threadsafe(coroutine, self.filesystem.loop)
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {limit_s:.0f} s") from (error.__cause__ or error)
        finally:
            future.cancel()  # nothing happens if it is done

    def create(self, path: str, content: bytes, mark: str) -> bool:
        """Put if absent; whether the object that is there now is the one with our mark."""
        if not self.is_s3:
            if self.call("exists", path):
                return False
            try:
                self.call("pipe_file", path, content, mode="create", num_bytes=len(content))
            except FileExistsError:
                return False
            return True
        if (there := self._mark(path)) is not None:  # a store that knows no conditions is not to overwrite either
            return there == mark
        started = time.monotonic()
        try:
            reply = self.call("pipe_file", path, content, mode="create", Metadata={_MARK: mark}, num_bytes=len(content))
        except OSError as error:
            if isinstance(error, FileExistsError) or answer(error)[0] == 412:
                return self._mark(path) == mark
            raise
        if _SWIFT_HEADER in reply["ResponseMetadata"]["HTTPHeaders"]:
            # A put that began before ours ended takes about as long as ours; none that begins later can win.
            time.sleep(max(_SETTLE_S, 2 * (time.monotonic() - started)))
            return self._mark(path) == mark
        return True

    def _mark(self, path: str) -> str | None:
        """Whose object is there: empty of one without a mark, None if there is none."""
        bucket, key, _ = self.filesystem.split_path(path)
        try:
            head = self.call("call_s3", "head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        return str(head["Metadata"].get(_MARK, ""))


def _run(uri: str, action: str, operation: Callable[[_Store, str], Result]) -> Result:
    """Do it, with patience; what cannot be done is explained.

    Raises:
        FileNotFoundError: There is no such object.
        ValueError: Of such a URI nothing is known.
        OSError: Anything else.
    """
    started = time.monotonic()
    try:
        store, path = _open(uri)
        return retried(lambda: operation(store, path))
    except ValueError:
        raise
    except ImportError as error:
        raise ValueError(f"{uri}: {error}") from error
    except Exception as error:  # back ends have classes of their own for missing credentials or servers
        raise _explained(uri, action, error, time.monotonic() - started) from error


def _open(uri: str) -> tuple[_Store, str]:
    protocol = uri.partition("://")[0]
    options: dict[str, Any] = {"use_listings_cache": False}  # other processes write to it too
    if protocol not in ("s3", "s3a"):
        filesystem, path = fsspec.core.url_to_fs(uri, **options)
        return _Store(filesystem), path
    # fsspec would make a connection for each thread, and go on with an old one after the environment has changed.
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    key = (os.getpid(), protocol, *sorted(settings.items()))
    with _open_lock:
        if key not in _opened:
            _opened[key] = _s3(options, settings)
    store = _opened[key]
    return store, store.filesystem._strip_protocol(uri)


def _s3(options: dict[str, Any], settings: Mapping[str, str]) -> _Store:
    region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION")  # botocore knows the second only
    filesystem = fsspec.filesystem(
        "s3",
        **options,
        skip_instance_cache=True,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": _CONNECT_S,
            "read_timeout": storage_retry.LIMITS.attempt_s,
            "max_pool_connections": _NUM_CONNECTIONS,
            "retries": {"total_max_attempts": 1},  # `retried` does it, and knows when to stop
        },
    )
    filesystem.retries = 1
    return _Store(filesystem)


def _explained(uri: str, action: str, error: Exception, after_s: float) -> OSError:
    """What went wrong with which object, why, and what to do about it."""
    status, code = answer(error)
    cause = _without_secrets(" ".join(str(error).split()) or type(error).__name__)
    bucket = uri.partition("://")[2].partition("/")[0]
    if code == "NoSuchBucket":
        return OSError(f"{uri}: there is no bucket {bucket!r}; create it, or correct the name")
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(f"{uri}: there is no such object")
    text = f"{uri}: {action} it failed after {after_s:.0f} s: {cause}"
    if isinstance(error, PermissionError) or status in (401, 403):
        return PermissionError(f"{text}. {_REMEDY_403.format(bucket=bucket)}")
    if any("Credential" in type(each).__name__ for each in causes(error)):
        return PermissionError(f"{text}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    if any("EndpointConnection" in type(each).__name__ for each in causes(error)):
        return ConnectionError(f"{text}. Is AWS_ENDPOINT_URL right, and the server up?")
    kind = TimeoutError if isinstance(error, TimeoutError) else OSError
    remedy = "The store is overloaded or out of reach; go on later" if storage_retry.passes(error) else ""
    return kind(f"{text}. {remedy}".removesuffix(". "))


_REMEDY_403 = (
    "Check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE), that they may list, read, write and delete in {bucket!r}, "
    "and this machine's clock"
)


def _without_secrets(text: str) -> str:
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return text
