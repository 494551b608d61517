"""Finds images, videos, cameras and RGB-D recordings and reads their frames as RGB."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from psp_jax.predict import written
from psp_jax.recordings import diagnosis, images, inputs, recording, video

EXPECTED = "expected an image, a video, a .sens, a .mat of NYU Depth v2, or a folder"
UNKNOWN_RATE = 25.0  # Frames per second of a film that does not state them.


@dataclasses.dataclass(frozen=True)
class Frame:
    """Identity of a frame.

    Attributes:
        name: name of its outputs, a path with forward slashes and without a suffix.
        path: the file, resolved; or the device or URL of a camera.
        changed_ns: modification time of that file; or the time when the camera was opened.
        index: number of the frame in the file; None for an image, and for a film as a whole.
    """

    name: str
    path: str
    changed_ns: int
    index: int | None = None

    @property
    def source(self) -> str:
        """The file, and the position in it, for messages."""
        return self.path if self.index is None else f"{self.path} frame {self.index}"


@dataclasses.dataclass(frozen=True)
class Film:
    """A film as a whole.

    Attributes:
        frame: its identity; the names of its frames begin with its name and a slash.
        frames_per_s: of the frames that are taken.
    """

    frame: Frame
    frames_per_s: float


# Decodes a frame to `[H, W, 3]` uint8 RGB, in any thread; raises ValueError or OSError.
Read = Callable[[], np.ndarray]
# Returns whether a frame is wanted; called once for each. Frames that are not are never decoded.
Wanted = Callable[[Frame], bool]


@dataclasses.dataclass(frozen=True)
class FrameSequence:
    """Frames in order.

    Attributes:
        count: expected number of frames.
        sources: resolved paths of their files.
        frames: yields the wanted frames. Where the rest of a file can't be read, reading the last
            frame raises the reason.
        film: the film whose frames these are, if they are one.
        unused: by path, why files of their folder that look like inputs are not used.
    """

    count: int
    sources: frozenset[pathlib.Path]
    frames: Callable[[Wanted], Iterator[tuple[Frame, Read]]]
    film: Film | None = None
    unused: Mapping[str, str] = dataclasses.field(default_factory=dict)


def find(
    patterns: Sequence[str], stride: int, out: pathlib.Path | None = None, **reading: Any
) -> list[FrameSequence]:
    """Finds the frames of images, videos, recordings, folders of them, and patterns of those.

    Of a folder, results of this program are left out: folders in it that hold some and, where `out`
    is that folder itself, the files in its list.

    Args:
        patterns: paths; one that does not exist may be a pattern such as `photos/*.jpg`.
        stride: takes every `stride`-th frame of a video or recording.
        out: folder of the results.
        reading: keyword arguments of `layouts.survey`.

    Raises:
        FileNotFoundError: if an input does not exist, or a folder holds no such file.
        ValueError: if a file is none of these.
    """
    paths = [path for text in patterns for path in inputs.expanded(text)]
    loose = [path for path in paths if _is_image(path)]
    base = os.path.commonpath([path.parent.resolve() for path in loose]) if loose else ""
    sequences, named = [], []
    for path in paths:
        if path.is_dir():
            prefix = path.resolve().name if len(paths) > 1 else ""
            sequences += _folder(path, prefix, stride, out, reading)
        elif _is_image(path):
            name = path.resolve().relative_to(base).with_suffix("").as_posix()
            named.append((name, path))
        elif path.suffix.lower() in diagnosis.VIDEO_SUFFIXES:
            sequences.append(_video(path, path.stem, stride))
        elif scans := inputs.recordings_in(path, reading.get("depth_scale")):
            names = [scan.id for scan in scans] if len(scans) > 1 else [path.stem]
            sequences += [_recording(*each, stride) for each in zip(scans, names, strict=True)]
        else:
            raise ValueError(f"{path}: {EXPECTED}")
    return [_images(named), *sequences] if named else sequences


def live(source: str, count: int, stride: int) -> FrameSequence:
    """Opens a camera or stream; its next frames are a film named `camera`.

    Args:
        source: as `video.Live` takes it.
        count: how many frames are taken, at most.
        stride: takes every `stride`-th frame.

    Raises:
        ValueError: if it can't be opened.
    """
    opened = video.Live(source)
    file = Frame("camera", opened.name, time.time_ns())  # Never the frames of an earlier command.

    def frames(wanted: Wanted) -> Iterator[tuple[Frame, Read]]:
        try:
            for each in opened.frames(count, stride):
                if wanted(frame := _numbered(file, each.index)):
                    yield frame, each.read
        except ValueError as error:
            yield file, functools.partial(_fail, str(error))

    film = Film(file, _rate(opened.frames_per_s) / stride)
    return FrameSequence(count, frozenset(), frames, film)


def read_image(path: pathlib.Path) -> np.ndarray:
    """Decodes an image of any format, turned upright, to `[H, W, 3]` uint8 RGB.

    Raises:
        ValueError: if it is something else, damaged, absurdly large, or a depth image.
        OSError: if it can't be read.
    """
    data = path.read_bytes()
    if not data:
        raise ValueError("the file is empty")
    return images.decode_rgb(data)


def _is_image(path: pathlib.Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES and not path.is_dir()


def _folder(
    folder: pathlib.Path,
    prefix: str,
    stride: int,
    out: pathlib.Path | None,
    reading: Mapping[str, Any],
) -> list[FrameSequence]:
    """Takes the recordings, images and videos of a folder."""
    results = written.listed(out) if out else ()
    found = inputs.find_color(folder, results=results, **reading)

    def name(text: str) -> str:
        return (pathlib.PurePath(prefix) / text).as_posix()

    sequences = [_recording(scan, name(scan.id), stride) for scan in found.recordings]
    sequences += [_video(path, name(text), stride) for text, path in found.videos.items()]
    if found.colors:
        sequences.insert(0, _images([(name(text), path) for text, path in found.colors.items()]))
    if not sequences:
        raise FileNotFoundError(f"{folder} holds no image, video or recording")
    sequences[0] = dataclasses.replace(sequences[0], unused=found.unused)
    return sequences


def _images(named: list[tuple[str, pathlib.Path]]) -> FrameSequence:
    def frames(wanted: Wanted) -> Iterator[tuple[Frame, Read]]:
        for name, path in named:
            frame = _frame(path, name)
            if wanted(frame):
                yield frame, functools.partial(read_image, path)

    sources = frozenset(path.resolve() for _, path in named)
    return FrameSequence(len(named), sources, frames)


def _recording(scan: recording.Recording, name: str, stride: int) -> FrameSequence:
    def frames(wanted: Wanted) -> Iterator[tuple[Frame, Read]]:
        try:
            for each in scan.frames(stride):
                frame = _numbered(_frame(inputs.path_of(each, scan), name), each.index)
                if wanted(frame):
                    yield frame, functools.partial(_read_color, each)
        except (ValueError, OSError) as error:
            yield (
                _frame(scan.path, name),
                functools.partial(_fail, f"the rest can't be read: {error}"),
            )

    sources = {scan.path.resolve()}
    if scan.path.is_dir():
        with contextlib.suppress(ValueError, OSError):
            sources |= {inputs.path_of(each, scan).resolve() for each in scan.frames(stride)}
    return FrameSequence(max(scan.count(stride), 1), frozenset(sources), frames)


def _read_color(frame: recording.Frame) -> np.ndarray:
    return images.decode_color(frame.read_color(), None)[..., ::-1]


def _video(path: pathlib.Path, name: str, stride: int) -> FrameSequence:
    def frames(wanted: Wanted) -> Iterator[tuple[Frame, Read]]:
        file = _frame(path, name)
        try:
            for each in video.frames(path, stride):
                if wanted(frame := _numbered(file, each.index)):
                    yield frame, each.read
        except (ValueError, OSError) as error:
            yield file, functools.partial(_fail, str(error))

    try:
        header = video.header(path)
        count, rate = header.count, header.frames_per_s
    except (ValueError, OSError):
        count, rate = 1, None  # The reason follows when its frames are read.
    film = Film(_frame(path, name), _rate(rate) / stride)
    sources = frozenset([path.resolve()])
    return FrameSequence(max(-(-count // stride), 1), sources, frames, film)


def _rate(stated: float | None) -> float:
    return stated if stated and 1 <= stated <= 1000 else UNKNOWN_RATE


def _frame(path: pathlib.Path, name: str) -> Frame:
    return Frame(name, str(path.resolve()), path.stat().st_mtime_ns)


def _numbered(file: Frame, index: int) -> Frame:
    return dataclasses.replace(file, name=f"{file.name}/{index:06d}", index=index)


def _fail(reason: str) -> np.ndarray:
    raise ValueError(reason)
