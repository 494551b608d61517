"""Reads the frames of videos, cameras and streams and reports those that are lost.

Decoded with FFmpeg through PyAV, which reports errors that OpenCV hides. A file is opened here, so
that its name may be any.
"""

import contextlib
import dataclasses
import functools
import pathlib
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import av
import av.error
import numpy as np

from psp_jax.io import contents, image_kinds
from psp_jax.recordings import images, recording

_HEAD_BYTES = 256
_MISSING_S = 0.5  # So long may sound be longer than the frames, where their number is not stated.
LIVE_SCHEMES = ("http", "https", "rtsp", "rtsps")
TIMEOUT_S = 10.0  # For a camera or stream to open, and from one frame to the next.
Read = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Header:
    """What a video states about itself.

    Attributes:
        count: number of frames; an estimate by its duration where it is not stated; at least 1.
        frames_per_s: average rate; None if it is not stated.
        is_exact: whether the number of frames is stated.
    """

    count: int
    frames_per_s: float | None
    is_exact: bool


@dataclasses.dataclass(frozen=True)
class VideoFrame:
    """A frame of a video.

    Attributes:
        index: position in the video, from 0.
        time_s: time stamp, seconds from the start; None if it has none.
        read: decodes to `[H, W, 3]` uint8 RGB, turned upright, in any thread; raises `Damaged`.
    """

    index: int
    time_s: float | None
    read: Read


def header(path: pathlib.Path) -> Header:
    """Reads what a video states about itself.

    Raises:
        Damaged: if the file is no video.
        OSError: if it can't be read.
    """
    with _opened(path) as (container, stream):
        return _header(container, stream)


def frames(path: pathlib.Path, stride: int = 1) -> Iterator[VideoFrame]:
    """Yields every `stride`-th frame; where frames are lost, raises that at the end.

    Raises:
        Damaged: if the file is no video; at the end, if it holds fewer frames than it states, or
            some that can't be decoded.
        OSError: if it can't be read.
    """
    with _opened(path) as (container, stream):
        stated, damaged, index, end_s = _header(container, stream), 0, 0, 0.0
        packets = _Packets(container, stream)
        for packet in packets:
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                index, damaged = index + 1, damaged + 1
                continue
            for frame in decoded:
                end_s = max(end_s, frame.time or 0.0)
                damaged += frame.is_corrupt
                if index % stride == 0:
                    yield VideoFrame(index, frame.time, functools.partial(_rgb, frame))
                index += 1
        _raise_if_lost(stated, packets, damaged, container.duration, end_s)


class Live:
    """A camera or stream that is open.

    Attributes:
        name: its device, or its URL without user, password and query.
        frames_per_s: stated rate; None if it is not stated.
    """

    def __init__(self, source: str):
        """Opens a camera or stream.

        Args:
            source: number of a camera of this computer, or a URL of `LIVE_SCHEMES`.

        Raises:
            ValueError: if it is neither, or can't be opened, or holds no video.
        """
        address, self.name = _address(source)
        try:
            self._container = av.open(
                address,
                format="v4l2" if source.isdecimal() else None,
                timeout=TIMEOUT_S,
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise ValueError(f"{self.name} can't be opened: {_reason(error)}") from None
        if not self._container.streams.video:
            self._container.close()
            raise ValueError(f"{self.name}: it holds no video")
        rate = self._container.streams.video[0].average_rate
        self.frames_per_s = float(rate) if rate else None

    def frames(self, count: int, stride: int = 1) -> Iterator[VideoFrame]:
        """Yields every `stride`-th frame, `count` in all, or fewer if the stream ends; closes it.

        Raises:
            Damaged: at the end, if some frames could not be decoded, or the rest was not received.
        """
        index, taken, damaged = 0, 0, 0
        with self._container:
            try:
                for packet in self._container.demux(self._container.streams.video[0]):
                    try:
                        decoded = packet.decode()
                    except av.error.InvalidDataError:
                        decoded, damaged = [], damaged + 1
                    for frame in decoded:
                        if index % stride == 0 and taken < count:
                            taken += 1
                            yield VideoFrame(index, frame.time, functools.partial(_rgb, frame))
                        index += 1
                    if taken == count:
                        break
            except (av.error.FFmpegError, OSError) as error:
                raise recording.Damaged(f"the rest was not received: {_reason(error)}") from None
        if damaged:
            raise recording.Damaged(f"{damaged} frames could not be decoded")


def _address(source: str) -> tuple[str, str]:
    """Returns the address of a camera or stream for FFmpeg, and its name."""
    if source.isdecimal():
        return f"/dev/video{source}", f"/dev/video{source}"
    try:
        url = urllib.parse.urlsplit(source)
        host = url.hostname + (f":{url.port}" if url.port else "") if url.hostname else ""
    except ValueError:
        url, host = None, ""
    if url is None or not host or url.scheme not in LIVE_SCHEMES:
        raise ValueError(
            f"expected the number of a camera or a URL of {', '.join(LIVE_SCHEMES)}, got {source!r}"
        )
    return source, f"{url.scheme}://{host}{url.path}"


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return f"no answer within {TIMEOUT_S:g} s"
    return str(getattr(error, "strerror", None) or error)


class _Packets:
    """The packets of a stream, counted; `error` is the reason where the rest can't be read."""

    def __init__(self, container: Any, stream: Any):
        self._packets = container.demux(stream)
        self.count, self.error = 0, ""

    def __iter__(self) -> Iterator[Any]:
        try:
            for packet in self._packets:
                self.count += packet.dts is not None or packet.size > 0  # The last one flushes.
                yield packet
        except av.error.FFmpegError as error:
            self.error = str(error.strerror)


def _raise_if_lost(
    stated: Header, packets: _Packets, damaged: int, duration: int | None, end_s: float
) -> None:
    readable = packets.count - damaged
    expected = stated.count if stated.is_exact else packets.count
    if readable < expected or damaged:
        raise recording.Damaged(
            f"{max(readable, 0)} of {max(expected, packets.count)} frames could be read"
        )
    if packets.error:
        raise recording.Damaged(f"the rest can't be read: {packets.error}")
    stated_s = (duration or 0) / av.time_base
    if not stated.is_exact and end_s < stated_s - max(_MISSING_S, 3 / (stated.frames_per_s or 1)):
        raise recording.Damaged(f"it ends after {end_s:.1f} of {stated_s:.1f} s")


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple[Any, Any]]:
    with path.open("rb") as file:
        if what := contents.placeholder(file.read(_HEAD_BYTES)):
            raise recording.Damaged(f"it is {what}")
        file.seek(0)
        try:
            container = av.open(file, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise recording.Damaged(f"no video that can be decoded: {reason}") from None
        with container:
            if not container.streams.video:
                raise recording.Damaged("it holds no video")
            if container.metadata.get("comment") == image_kinds.FILM:
                raise recording.Damaged("a result of this program, not a video of a camera")
            stream = container.streams.video[0]
            images.check_pixels((stream.height, stream.width))
            stream.thread_type = "AUTO"
            yield container, stream


def _header(container: Any, stream: Any) -> Header:
    rate = float(stream.average_rate) if stream.average_rate else None
    if stream.frames:
        return Header(stream.frames, rate, is_exact=True)
    duration_s = (container.duration or 0) / av.time_base
    return Header(max(round(duration_s * (rate or 0)), 1), rate, is_exact=False)


def _rgb(frame: Any) -> np.ndarray:
    if frame.is_corrupt:
        raise recording.Damaged("the decoder reports that the frame is damaged")
    pixels = frame.to_ndarray(format="rgb24")
    # The rotation is counter-clockwise, as that of NumPy.
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
