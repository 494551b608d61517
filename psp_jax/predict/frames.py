"""People's images, videos and scans as frames of colour that decode where they are asked for."""

import contextlib
import dataclasses
import functools
import glob
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from psp_jax.recordings import images, sens

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
MAX_IMAGE_BYTES = 256 << 20
EXPECTED = "an image (.jpg, .png), a video, a .sens file or a folder of them was expected"
_PNG_BITS_AT = 24  # Offset of the bits of a channel.
_JPEG_END = b"\xff\xd9"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        name: what its outputs are called, as a path with forward slashes and without a suffix.
        source: where it comes from, in the file that it is in.
        changed_ns: when that file was last changed.
        read: decodes it to `[H, W, 3]` uint8 RGB, in any thread; raises ValueError or OSError.
            None for a frame that was not wanted.
    """

    name: str
    source: str
    changed_ns: int
    read: Callable[[], np.ndarray] | None = None


# Tells whether a frame, whose `read` is still None, is wanted; asked once for each.
Wanted = Callable[[Frame], bool]


@dataclasses.dataclass(frozen=True)
class Recording:
    """Frames in order.

    Attributes:
        count: how many there seem to be.
        frames: yields all of them, those that are not wanted without `read`. Where the rest of a
            file can't be read, the last frame says so when it is read.
    """

    count: int
    frames: Callable[[Wanted], Iterator[Frame]]


def find(inputs: Sequence[str], stride: int) -> list[Recording]:
    """Finds the frames of images, videos, `.sens` files, folders of them, and patterns of those.

    Args:
        inputs: paths; one that is not there may be a pattern such as `photos/*.jpg`.
        stride: takes every so many frames of a video or scan.

    Raises:
        FileNotFoundError: if an input is not there, or a folder holds none of these.
        ValueError: if a file is none of these.
    """
    paths = [path for given in inputs for path in _expanded(given)]
    loose = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    base = os.path.commonpath([path.parent.resolve() for path in loose]) if loose else ""
    recordings, named = [], []
    for path in paths:
        suffix = path.suffix.lower()
        if path.is_dir():
            prefix = path.resolve().name if len(paths) > 1 else ""
            recordings += _folder(path, prefix, stride)
        elif suffix in IMAGE_SUFFIXES:
            name = path.resolve().relative_to(base).with_suffix("").as_posix()
            named.append((name, path))
        elif suffix in VIDEO_SUFFIXES:
            recordings.append(_video(path, path.stem, stride))
        elif suffix == ".sens":
            recordings.append(_scan(path, path.stem, stride))
        else:
            raise ValueError(f"{path}: {EXPECTED}")
    return [_images(named), *recordings] if named else recordings


def read_image(path: pathlib.Path) -> np.ndarray:
    """Decodes a JPEG or PNG file, turned upright, to `[H, W, 3]` uint8 RGB.

    Raises:
        ValueError: if it is something else, damaged, absurdly large, or a depth image.
        OSError: if it can't be read.
    """
    size = path.stat().st_size
    if size > MAX_IMAGE_BYTES:
        raise ValueError(f"{size} bytes; at most {MAX_IMAGE_BYTES} are read")
    data = path.read_bytes()
    if not data:
        raise ValueError("an empty file")
    if data.startswith(b"\xff\xd8"):  # Telephones append films and second pictures.
        data = data[: data.rfind(_JPEG_END) + len(_JPEG_END)]
    shape = images.shape_of(data)
    if not shape.is_jpeg and shape.channels == 1 and data[_PNG_BITS_AT] == 16:
        raise ValueError("16-bit gray, as depth images are; colour was expected")
    return _decode(data)


def _decode(data: bytes) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ValueError(f"OpenCV can't decode it: {error.err}") from None
    if pixels is None:
        raise ValueError("OpenCV can't decode it")
    return np.asarray(pixels)


def _expanded(given: str) -> list[pathlib.Path]:
    path = pathlib.Path(given)
    if path.exists():
        return [path]
    if not glob.has_magic(given):
        raise FileNotFoundError(f"{given} is not there; {EXPECTED}")
    found = sorted(glob.glob(given, recursive=True))
    if not found:
        raise FileNotFoundError(f"nothing matches {given!r}")
    return [pathlib.Path(name) for name in found]


def _folder(folder: pathlib.Path, prefix: str, stride: int) -> list[Recording]:
    """Takes the scans of a folder, or else what is in folders named color, or else all."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())

    def name(path: pathlib.Path) -> str:
        return (pathlib.PurePath(prefix) / path.relative_to(folder).with_suffix("")).as_posix()

    def having(suffixes: tuple[str, ...]) -> list[pathlib.Path]:
        return [path for path in found if path.suffix.lower() in suffixes]

    if scans := having((".sens",)):
        return [_scan(path, name(path), stride) for path in scans]
    pictures = having(IMAGE_SUFFIXES)
    pictures = [path for path in pictures if path.parent.name == "color"] or pictures
    recordings = [_video(path, name(path), stride) for path in having(VIDEO_SUFFIXES)]
    if pictures:
        recordings.insert(0, _images([(name(path), path) for path in pictures]))
    if not recordings:
        raise FileNotFoundError(f"{folder} holds no .jpg, .png, video or .sens file")
    return recordings


def _images(named: list[tuple[str, pathlib.Path]]) -> Recording:
    def frames(wanted: Wanted) -> Iterator[Frame]:
        for name, path in named:
            frame = Frame(name, str(path.resolve()), _changed_ns(path))
            if wanted(frame):
                frame = dataclasses.replace(frame, read=functools.partial(read_image, path))
            yield frame

    return Recording(len(named), frames)


def _scan(path: pathlib.Path, name: str, stride: int) -> Recording:
    scan = sens.SensRecording(path)

    def frames(wanted: Wanted) -> Iterator[Frame]:
        blank = Frame(f"{name}/...", str(path.resolve()), _changed_ns(path))
        try:
            for each in scan.frames(stride):
                frame = dataclasses.replace(
                    blank,
                    name=f"{name}/{each.index:06d}",
                    source=f"{blank.source} frame {each.index}",
                )
                if wanted(frame):
                    read = functools.partial(_decode_color, each.read_color())
                    frame = dataclasses.replace(frame, read=read)
                yield frame
        except (ValueError, OSError) as error:
            yield _failing(blank, f"the rest can't be read: {error}")

    return Recording(max(scan.count(stride), 1), frames)


def _decode_color(data: bytes) -> np.ndarray:
    return images.decode_color(data, None)[..., ::-1]


def _video(path: pathlib.Path, name: str, stride: int) -> Recording:
    def frames(wanted: Wanted) -> Iterator[Frame]:
        blank = Frame(f"{name}/...", str(path.resolve()), _changed_ns(path))
        with _capture(path) as capture:
            index = 0
            while capture.grab():  # Steps on; decoding is `retrieve`'s.
                if index % stride == 0:
                    frame = dataclasses.replace(
                        blank, name=f"{name}/{index:06d}", source=f"{blank.source} frame {index}"
                    )
                    if wanted(frame):
                        read = functools.partial(_rgb_of, *capture.retrieve())
                        frame = dataclasses.replace(frame, read=read)
                    yield frame
                index += 1
        if not index:
            yield _failing(blank, "no video that OpenCV can decode")

    with _capture(path) as capture:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return Recording(max(-(-count // stride), 1), frames)


@contextlib.contextmanager
def _capture(path: pathlib.Path) -> Iterator[cv2.VideoCapture]:
    # FFmpeg by name: other readers of OpenCV take a name with digits for a pattern.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        yield capture
    finally:
        capture.release()


def _rgb_of(done: bool, pixels: np.ndarray | None) -> np.ndarray:
    if not done or pixels is None:
        raise ValueError("a frame of the video that can't be decoded")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _failing(frame: Frame, message: str) -> Frame:
    def fail() -> np.ndarray:
        raise ValueError(message)

    return dataclasses.replace(frame, read=fail)


def _changed_ns(path: pathlib.Path) -> int:
    return path.stat().st_mtime_ns
