"""Read and write the frames of videos by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from rcn_search.errors import RcnSearchError

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class VideoFrame(NamedTuple):
    """A frame of a video, upright, and its time from the beginning."""

    image: Image.Image
    time_s: float


def _import_av() -> Any:
    try:
        import av
    except ImportError:
        raise RcnSearchError("videos need PyAV: pip install 'rcn-search[video]'") from None
    return av


@contextmanager
def open_video(path: str) -> Iterator[tuple[float, Iterator[VideoFrame]]]:
    """Open a video; yields its frames per second and its frames, of which one is in memory at a time.

    Raises:
        RcnSearchError: PyAV is not installed, the file is missing or no video, or a frame is damaged.
    """
    av = _import_av()
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise RcnSearchError(f"{path} has no video, only {len(container.streams)} other streams")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            yield rate, _frames(container, stream, rate)
    except (av.FFmpegError, FileNotFoundError) as error:
        raise RcnSearchError(f"{path} is not a readable video: {error}") from error


def _frames(container: Any, stream: Any, rate: float) -> Iterator[VideoFrame]:
    for number, frame in enumerate(container.decode(stream)):
        image: Image.Image = frame.to_image()
        if turn := _TURNS.get(round(getattr(frame, "rotation", 0)) % 360):  # phones store their videos turned
            image = image.transpose(turn)
        yield VideoFrame(image, number / rate if frame.time is None else float(frame.time))


class VideoWriter:
    """Writes pictures as an MP4 file, H.264 where PyAV has an encoder for it."""

    def __init__(self, path: Path, rate: float) -> None:
        self._av, self._path, self._rate = _import_av(), path, rate
        self._container: Any = None
        self._stream: Any = None

    def write(self, image: Image.Image) -> None:
        """Append a picture; all must have the size of the first."""
        if self._container is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            codec = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
            self._container = self._av.open(str(self._path), "w")
            self._stream = self._container.add_stream(codec, rate=round(self._rate) or 1)
            self._stream.width, self._stream.height = (side - side % 2 for side in image.size)  # H.264 needs even sides
            self._stream.pix_fmt = "yuv420p"
        cut = image.crop((0, 0, self._stream.width, self._stream.height))
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_image(cut)))

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
