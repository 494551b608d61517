"""Times the stages of drawing rooms and of building their data set.

`python -m benchmarks.drawing [--spaces=4] [--frames_per_scan=8] [--ideal_depth]` draws and builds a
small set on one thread of Python, after a smaller one that compiles, and prints a table of CPU
milliseconds per frame.
"""

import argparse
import collections
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import tabulate

from data_builders import sources
from data_builders.rooms import camera, generate, render, scene, sensor, walk, workers
from data_builders.scannet_frontiers import examples, work
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax.io import command_line
from psp_jax.partition import fill, frontier_classes, planar, superpixels
from psp_jax.recordings import images, sens

# Stage, and module or class and name of its function.
DRAWING: tuple[tuple[str, Any, str], ...] = (
    ("layout", scene, "make_scene"),
    ("trajectory", camera, "trajectory"),
    ("trajectory, varied", walk, "trajectory"),
    ("cast and shade", render, "render_frames"),
    ("colour sensor", sensor, "capture_color"),
    ("depth sensor", sensor, "capture_depth"),
    ("JPEG", generate.cv2, "imencode"),
    ("depth compression", sens, "encode_depth"),
    ("true depth and instances", generate.np, "savez_compressed"),
    ("all of drawing", generate, "draw_scan"),
)
BUILDING: tuple[tuple[str, Any, str], ...] = (
    ("JPEG decoding", images, "decode_color"),
    ("resizing", examples.cv2, "resize"),
    ("filling", fill, "fill_nearest"),
    ("planar", planar.Planar, "__call__"),
    ("SEEDS", superpixels.Seeds, "__call__"),
    ("classes", frontier_classes, "encode"),
    ("compression", work, "compress"),
    ("all of labelling", work.Job, "run"),
    ("all of building", dataset, "build"),
)


class Stopwatch:
    """Sums up the CPU time of functions, all threads together; other programs do not count."""

    def __init__(self):
        """Starts at 0."""
        self.time_s: dict[str, float] = collections.defaultdict(float)

    def timed(self, stage: str, function: Callable) -> Callable:
        """Returns the function with its time added to a stage; of a generator, all of its steps."""

        def call(*args, **kwargs):
            started = time.process_time()
            result = function(*args, **kwargs)
            self.time_s[stage] += time.process_time() - started
            return self._steps(stage, result) if isinstance(result, Iterator) else result

        return call

    def _steps(self, stage: str, steps: Iterator) -> Iterator:
        while True:
            started = time.process_time()
            step = next(steps, None)
            self.time_s[stage] += time.process_time() - started
            if step is None:
                return
            yield step


def main(arguments: argparse.Namespace) -> None:
    """Prints the table."""
    rooms = generate.Rooms(
        arguments.spaces,
        arguments.frames_per_scan,
        ideal_depth=arguments.ideal_depth,
        variety=arguments.variety,
    )
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        draw_and_build(dataclasses.replace(rooms, spaces=3, frames_per_scan=2), first)
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(workers, "MAX_THREADS", 1))
            for stage, owner, name in DRAWING + BUILDING:
                timed = watch.timed(stage, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, timed))
            draw_and_build(rooms, second)
    rows = [
        (stage, 1e3 * watch.time_s[stage] / rooms.frames)
        for stage, *_ in DRAWING + BUILDING
        if watch.time_s[stage]
    ]
    print(f"{rooms.frames} frames")
    print(tabulate.tabulate(rows, headers=("stage", "CPU ms per frame"), floatfmt=".2f"))


def draw_and_build(rooms: generate.Rooms, data_dir: str) -> None:
    """Draws the rooms and builds their data set without printing what is in it."""
    with contextlib.redirect_stdout(None):
        sources.EmbeddedRooms(data_dir=data_dir, rooms=rooms).prepare()


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.drawing", description=__doc__)
    positive = command_line.positive_int
    parser.add_argument("--spaces", type=positive, default=4, help="spaces (%(default)s)")
    parser.add_argument(
        "--frames_per_scan", type=positive, default=8, help="frames per scan (%(default)s)"
    )
    parser.add_argument("--ideal_depth", action="store_true", help="depth without noise and holes")
    parser.add_argument("--variety", action="store_true", help="varied rooms")
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
