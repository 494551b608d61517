"""Writes films of pictures as H.264 in MP4, which browsers and phones play."""

import contextlib
import fractions
import pathlib

import av
import numpy as np

from psp_jax.io import files

MAX_SIDE_PX = 4096  # H.264's usual limit.
QUALITY = "20"  # x264's constant rate factor: 18 is visually lossless, 23 the default.


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
            with contextlib.suppress(av.FFmpegError):
                self._container.close()
        self._partial.unlink(missing_ok=True)
