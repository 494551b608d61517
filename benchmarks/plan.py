"""Estimates time, storage and cost of training on ScanNet from rates measured here.

`python -m benchmarks.plan [--frames=FOLDER]` measures the builder on frames of ScanNet's sizes
(real captures as in `benchmarks.reading`, or else synthetic frames), counts the operations of a
training step of the config at ScanNet scale, and prints Markdown. GPUs are not measured: their
utilisation is that of a published training, and prices are from a catalogue.
"""

import argparse
import dataclasses
import functools
import pathlib
import tempfile
import time
from typing import Any

import cv2
import jax
import numpy as np

from benchmarks import reading
from configs import depth_mse
from data_builders.scannet_frontiers import configurations, splits, work
from psp_jax import experiment, optim, state, steps
from psp_jax.batch import Batch
from psp_jax.io import command_line
from psp_jax.models import profile
from psp_jax.recordings import layouts, sens

COLOR_SIZE = (968, 1296)  # ScanNet's.
FRAMES = (90_000, 2_500_000)  # One frame per second, and all frames.
BUILDS = ("thesis", "thesis_planar")
ROUNDS = 2
# Zhao et al. train 150,000 steps of 16 images on ADE20K (github.com/hszhao/PSPNet).
PUBLISHED_IMAGES = 150_000 * 16
# ResNet-50 v1.5, 24.6 GFLOP per image forward and backward, on one A100-80GB: images/s of NVIDIA's
# DeepLearningExamples (PyTorch/Classification/ConvNets/resnet50v1.5/README.md, 21.03).
PUBLISHED_GFLOP = 24.6
PUBLISHED_PER_S = {"float32": 938, "bfloat16": 2470}  # TF32; mixed precision.
MONTHS = 6  # Storage time of the data set.
WORKERS = 32
# Lambda's list prices in SkyPilot's catalogue (skypilot-org/skypilot-catalog, commit 95eaf484,
# catalogs/v8/lambda/vms.csv): cpu_4x_general is 0.20 $/h, the GPUs are in `GPUS`.
DOLLARS_PER_CORE_HOUR = 0.20 / 4
# S3 Standard in us-east-1, the first 50 TB.
DOLLARS_PER_GB_MONTH = 0.023
# The thesis, section 5: 20 weeks of a p2.xlarge (K80) at 0.9 $/h; euros as stated there.
THESIS_DOLLARS, THESIS_EUROS = 20 * 7 * 24 * 0.9, 2580


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU for rent.

    Attributes:
        name: NVIDIA's name.
        peak_tflops: dense TFLOP/s by precision, from its data sheet; float32 convolutions run as
            TF32.
        dollars_per_hour: list price per GPU.
    """

    name: str
    peak_tflops: dict[str, float]
    dollars_per_hour: float


GPUS = (
    Gpu("A10", {"float32": 62.5, "bfloat16": 125.0}, 0.75),
    Gpu("A100 80GB SXM", {"float32": 156.0, "bfloat16": 312.0}, 14.32 / 8),
    Gpu("H100 SXM", {"float32": 494.7, "bfloat16": 989.4}, 3.29),
)
_A100 = GPUS[1]


@dataclasses.dataclass(frozen=True)
class Build:
    """Cost of a builder configuration per frame: seconds of one core, and bytes of storage."""

    core_s: float
    stored_bytes: float


def main(arguments: argparse.Namespace) -> None:
    """Measures and prints the plan."""
    pairs = reading.captures(arguments.frames) if arguments.frames else reading.synthetic()
    kind = "captured" if arguments.frames else "synthetic"
    builds = {name: measure(name, pairs) for name in BUILDS}
    config = depth_mse.get_config("scannet")
    gflop = gflop_per_image(config)
    print(describe(builds, f"{len(pairs)} {kind} frames", config, gflop, arguments.passes))


def measure(name: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> Build:
    """Measures the job of a scan at ScanNet's sizes, from its `.sens` file to its examples.

    Args:
        name: builder configuration.
        pairs: `[h, w, 3]` uint8 BGR and `[480, 640]` uint16 millimetres.
    """
    cv2.setNumThreads(1)
    recipe = dataclasses.replace(configurations.named(name).recipe, frame_stride=1)
    with tempfile.TemporaryDirectory() as folder:
        write_scan(pathlib.Path(folder), pairs)
        (scan,) = layouts.survey(folder).recordings
        seconds, sizes = [], []
        for version in range(ROUNDS + 1):
            job = work.Job(scan, recipe, None, folder, str(version))
            began_s = (
                time.process_time()
            )  # CPU time, so that other work on the machine does not count.
            job.run()
            seconds.append(time.process_time() - began_s)
            sizes.append(job.path.stat().st_size)
            assert job.report().kept == len(pairs), "every frame must become an example"
    # The first round also compiles.
    return Build(min(seconds[1:]) / len(pairs), sizes[-1] / len(pairs))


def write_scan(folder: pathlib.Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Writes pairs as a scan in the layout of ScanNet's download."""
    frames = []
    for color, depth_mm in pairs:
        large = cv2.resize(color, COLOR_SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        jpeg = cv2.imencode(".jpg", large)[1].tobytes()
        pose = np.eye(4, dtype=np.float32)
        frames.append(sens.EncodedFrame(pose, jpeg, sens.encode_depth(depth_mm)))
    path = folder / "scans" / "scene9000_00" / "scene9000_00.sens"
    path.parent.mkdir(parents=True)
    sens.write(
        path,
        frames,
        color_size=COLOR_SIZE,
        depth_size=pairs[0][1].shape,
        intrinsic_color=np.eye(4),
        intrinsic_depth=np.eye(4),
    )


def gflop_per_image(config: experiment.Experiment) -> float:
    """Returns 1e9 operations per image of a training step of the first phase; see `profile.gflop`.

    Only shapes are traced; nothing is computed.
    """
    size = config.data.source.size()
    assert size is not None, "the configurations of the builder have a size"
    count, phase = config.data.batch_size, config.phases[0]
    pixels = (count, *size)
    of: Any = jax.ShapeDtypeStruct
    batch = Batch(
        image=of((*pixels, 3), np.uint8),
        depth=of(pixels, np.float32),
        filled_depth=of(pixels, np.float32),
        frontier=of(pixels, np.uint8),
        filled=of(pixels, np.bool_),
        valid=of((count,), np.bool_),
    )
    model, tx = config.model.make(config.objective.channels), optim.make(phase)
    variables = jax.eval_shape(
        lambda batch: model.init(jax.random.key(0), model.inputs(batch)), batch
    )
    start = jax.eval_shape(lambda given: state.create(given, tx, phase.train, 0), variables)
    take_step = functools.partial(
        steps.train_step,
        model=model,
        objective=config.objective,
        tx=tx,
        phase=phase,
        seed=config.seed,
    )
    return profile.gflop(jax.make_jaxpr(take_step)(start, batch).jaxpr) / count


def describe(
    builds: dict[str, Build],
    frames: str,
    config: experiment.Experiment,
    gflop: float,
    passes: int,
) -> str:
    """Returns the plan as Markdown, with what was measured and what is assumed."""
    share = _train_share()
    budgets = {count: max(PUBLISHED_IMAGES, passes * share * count) for count in FRAMES}
    lines = [
        f"Measured here, {frames} of 480x640 with colour resized to 1296x968: "
        + "; ".join(
            f"`{name}` {1e3 * build.core_s:.0f} core ms and "
            f"{build.stored_bytes / 1e3:.0f} kB per frame"
            for name, build in builds.items()
        )
        + f". Counted: {gflop:,.0f} GFLOP per training image of `{config.name}`.",
        "",
        "Assumed: "
        + ", ".join(
            f"{100 * utilisation(precision):.0f} % of the peak in {precision}"
            for precision in PUBLISHED_PER_S
        )
        + " (published by NVIDIA for ResNet-50 on an A100), input that is never the bottleneck, "
        f"{100 * share:.0f} % of the frames in the training split, {DOLLARS_PER_CORE_HOUR:.2f} $ "
        f"per core hour, {DOLLARS_PER_GB_MONTH} $ per GB and month for {MONTHS} months, and list "
        "prices of GPUs. The time to write the records is not included.",
        "",
        f"| frames | build | core hours | hours of {WORKERS} workers | GB | build $ | storage $ |",
        "|---|---|---|---|---|---|---|",
        *(_build_row(count, name, build) for count in FRAMES for name, build in builds.items()),
        "",
        "| GPU | $/h | precision | images/s | "
        + " | ".join(f"{count:,} frames: hours | $" for count in FRAMES)
        + " |",
        "|---|---|---|---|" + "---|---|" * len(FRAMES),
    ]
    for gpu in GPUS:
        for precision, peak in gpu.peak_tflops.items():
            per_s = utilisation(precision) * peak * 1e3 / gflop
            hours = [images / per_s / 3600 for images in budgets.values()]
            cells = " | ".join(f"{h:,.0f} | {h * gpu.dollars_per_hour:,.0f}" for h in hours)
            lines.append(
                f"| {gpu.name} | {gpu.dollars_per_hour:.2f} | {precision} | {per_s:.1f} | {cells} |"
            )
    own = config.phases[0].steps * config.data.batch_size
    trained = "; ".join(
        f"{images / 1e6:.1f} million images, {images / share / count:.1f} passes, of {count:,}"
        for count, images in budgets.items()
    )
    lines += [
        "",
        f"Each is one run: {trained} (PSPNet's own {PUBLISHED_IMAGES / 1e6:.1f} million, or "
        f"{passes} passes). The config itself trains on {own:,} images, "
        f"{own / PUBLISHED_IMAGES:.2f} of that. The thesis states 20 weeks of a K80 at 0.9 $/h: "
        f"{THESIS_DOLLARS:,.0f} $, {THESIS_EUROS:,} EUR.",
    ]
    return "\n".join(lines)


def utilisation(precision: str) -> float:
    """Returns the fraction of the peak that the published training reaches."""
    return PUBLISHED_PER_S[precision] * PUBLISHED_GFLOP / (1e3 * _A100.peak_tflops[precision])


def _build_row(count: int, name: str, build: Build) -> str:
    core_hours = count * build.core_s / 3600
    size_gb = count * build.stored_bytes / 1e9
    return (
        f"| {count:,} | `{name}` | {core_hours:,.1f} | {core_hours / WORKERS:,.1f} | "
        f"{size_gb:,.0f} | {core_hours * DOLLARS_PER_CORE_HOUR:,.1f} | "
        f"{size_gb * DOLLARS_PER_GB_MONTH * MONTHS:,.0f} |"
    )


def _train_share() -> float:
    split = configurations.named("thesis").split
    assert isinstance(split, splits.HashSplit), "the thesis states fractions"
    return split.fractions[0] / sum(split.fractions)


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.plan", description=__doc__)
    parser.add_argument("--frames", type=pathlib.Path, help="folder of real captures")
    parser.add_argument(
        "--passes",
        type=command_line.positive_int,
        default=3,
        help="minimum number of passes over the training split",
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
