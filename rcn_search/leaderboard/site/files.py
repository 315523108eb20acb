"""Write files of the site, each whole or not at all, and never through a link within the site's folder.

Somebody else may be able to write in that folder. So temporary names are new and cannot be guessed, and folders in it
are opened one within the other, none of them through a link.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from rcn_search.errors import RcnSearchError


def write_file(folder: Path, name: str, content: bytes) -> None:
    """Write ``folder/name``, with the folders in between; not synced to the disk, because it can be written again.

    Raises:
        RcnSearchError: A folder within ``folder`` is a link or a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if os.open in os.supports_dir_fd:
            _write_below(folder, name.split("/"), content)
        else:  # Windows, where making links needs a privilege
            _write(str(folder / name), content)
    except OSError as error:
        if error.errno and error.filename is None:  # a disk that is full has no file name
            error.filename = str(folder / name)
        raise


def _write_below(folder: Path, parts: list[str], content: bytes) -> None:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # the user named it, so it may be a link
    try:
        for depth, part in enumerate(parts[:-1], 1):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=directory)
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            except OSError as error:
                place = folder.joinpath(*parts[:depth])
                raise RcnSearchError(
                    f"{place} is a link or a file, not a folder of the site: remove it, or name another folder"
                ) from error
            os.close(directory)
            directory = below
        _write(parts[-1], content, directory)
    finally:
        os.close(directory)


def _write(name: str, content: bytes, directory: int | None = None) -> None:
    parent, _, _ = name.rpartition(os.sep)
    if directory is None:
        Path(parent).mkdir(parents=True, exist_ok=True)
    temporary = os.path.join(parent, f".{uuid.uuid4().hex}.tmp")  # noqa: PTH118
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666, dir_fd=directory)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor has no path
            stream.write(content)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
