"""Writes films of pictures as H.264 in MP4, which browsers and phones play."""

import contextlib
import dataclasses
import fractions
import pathlib
from typing import NamedTuple

import av
import av.error
import numpy as np

from psp_jax.io import files, image_kinds
from psp_jax.predict import drawing, outputs
from psp_jax.predict.frames import Film
from psp_jax.predict.plan import Plan
from psp_jax.predict.results import Result

MAX_SIDE_PX = 4096  # H.264's usual limit.
DEPTH = "depth_color"
RANGE_MOMENTUM = 0.9  # Of the depths that the colours of a film stand for, from frame to frame.
QUALITY = "20"  # x264's constant rate factor: 18 is visually lossless, 23 the default.


class Pictures(NamedTuple):
    """Pictures of a frame of a film.

    Attributes:
        drawn: `[H, W, 3]` uint8 RGB by their names, without coloured depth.
        depth_m: `[H, W]` float32, which is coloured in the order of the frames; None if there is
            none or no picture needs it.
    """

    drawn: dict[str, np.ndarray]
    depth_m: np.ndarray | None


def pictures_of(result: Result, plan: Plan) -> Pictures:
    """Draws the pictures of a frame that a plan asks for; safe in any thread."""
    kinds = [kind for kind in plan.film_pictures if kind != DEPTH]
    needs_depth = DEPTH in plan.film_pictures
    drawn = {kind: result.picture(kind) for kind in kinds}
    return Pictures(drawn, result.depth_m if needs_depth else None)


class Writer:
    """A film that is being written; appears under its name when it is closed."""

    def __init__(self, path: pathlib.Path, frames_per_s: float):
        """Starts a film; the first frame decides its size.

        Args:
            path: file to write.
            frames_per_s: rate of the film.
        """
        self.path = path
        self._partial = path.with_name(f".{path.name}{files.PARTIAL}")
        self._rate = fractions.Fraction(frames_per_s).limit_denominator(1001)
        self._container, self._stream = None, None

    def add(self, picture: np.ndarray) -> None:
        """Appends `[H, W, 3]` uint8 RGB, all of one size; odd sizes lose a row or column.

        Raises:
            ValueError: if the picture is too large for H.264 or has another size.
        """
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._stream is None:
            if max(height, width) > MAX_SIDE_PX or min(height, width) < 2:
                raise ValueError(
                    f"expected films of 2 to {MAX_SIDE_PX} pixels a side, got {height}x{width}"
                )
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._partial), "w", format="mp4")
            self._container.metadata["comment"] = image_kinds.FILM
            self._stream = self._container.add_stream(
                "libx264", rate=self._rate, options={"crf": QUALITY, "preset": "veryfast"}
            )
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = "yuv420p"
        if (self._stream.height, self._stream.width) != (height, width):
            raise ValueError(f"the film changes its size to {height}x{width}")
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(picture[:height, :width]), format="rgb24"
        )
        assert self._container is not None
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> int:
        """Ends the film in its partial file; returns its size in bytes."""
        assert self._container is not None and self._stream is not None
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._partial.stat().st_size

    def publish(self) -> None:
        """Gives the finished file its name."""
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Deletes what was written."""
        if self._container is not None:
            with contextlib.suppress(av.error.FFmpegError):
                self._container.close()
        self._partial.unlink(missing_ok=True)


class Films:
    """The films that are being written: pictures of the frames of an input film, in order."""

    def __init__(self, folder: outputs.Folder, plan: Plan):
        """Starts without a film."""
        self._folder, self._plan = folder, plan
        self._writers: dict[str, Writer] = {}
        self._range_m: tuple[float, float] | None = None
        self._is_whole = True
        self._begun: set[str] = set()

    def begin(self, film: Film) -> bool:
        """Returns whether the pictures of a film are missing, and takes its frames from now on.

        Raises:
            ValueError: if they must not be written, see `outputs.Folder`.
        """
        paths = self._plan.films_of(film).values()
        if not paths or self._folder.holds(film.frame, list(paths)):
            return False
        self._folder.check(paths)
        self._begun.add(film.frame.name)
        return True

    def take(self, film: Film, pictures: Pictures | None) -> None:
        """Adds the pictures of the next frame of a film, None for one that failed.

        Raises:
            ValueError: if a picture can't be added; the film is discarded.
        """
        if film.frame.name not in self._begun:
            return
        if pictures is None:
            self._is_whole = False
            return
        try:
            for kind, path in self._plan.films_of(film).items():
                if path not in self._writers:
                    self._writers[path] = Writer(self._folder.path / path, film.frames_per_s)
                drawn = pictures.drawn.get(kind)
                if drawn is None:
                    drawn = self._coloured_depth(pictures)
                self._writers[path].add(drawn)
        except ValueError:
            self._begun.discard(film.frame.name)
            self.discard()
            raise

    def _coloured_depth(self, pictures: Pictures) -> np.ndarray:
        """Colours depth with a range that follows the film slowly, since it would flicker."""
        assert pictures.depth_m is not None
        now = drawing.depth_range(pictures.depth_m)
        old = self._range_m or now
        near, far = (
            RANGE_MOMENTUM * a + (1 - RANGE_MOMENTUM) * b for a, b in zip(old, now, strict=True)
        )
        self._range_m = near, far
        return drawing.coloured_depth(pictures.depth_m, self._range_m, bar=self._plan.with_bar)

    def end(self, film: Film) -> None:
        """Publishes the pictures of a film, if it had any frame."""
        sizes = {path: writer.finish() for path, writer in self._writers.items()}
        if sizes:
            # A film that lacks frames is tried again by the next command.
            changed_ns = film.frame.changed_ns if self._is_whole else 0
            frame = dataclasses.replace(film.frame, changed_ns=changed_ns)
            self._folder.start(frame, sizes)
            for writer in self._writers.values():
                writer.publish()
        self._writers, self._range_m, self._is_whole = {}, None, True

    def discard(self) -> None:
        """Deletes unfinished films."""
        for writer in self._writers.values():
            writer.discard()
        self._writers = {}
