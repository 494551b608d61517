"""Teaches the contour coder how far to trust what a network predicted of the edges.

Run `python -m benchmarks.train_side --workdir=runs/frontier_edges [--spaces=150] [--steps=20000]`.
It draws rooms that are in no split of that run and predicts the calibrated logits of their edges.
From them it fits the small network that judges edges given these logits, beginning with the one
that knows none, and then lets the mixture learn its weights and the table of the side information.
All goes into `psp_jax/partition/coding/contours.npz`, which is part of the format of streams with
side information. Last, it prints the bits of the run's validation split without prediction and
with it.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks import train_contours
from data_builders import sources
from psp_jax import checkpoints, codec, data, experiment
from psp_jax.codec import contours
from psp_jax.codec.contours import ABOVE, LEFT
from psp_jax.evaluation import predictions, run_report
from psp_jax.partition import calibration

MOST_COUNT = 60  # Of an entry of the table; a frame may still be another one.
TARGET = train_contours.TARGET

# The partition of an image, and the logits predicted of its edges.
Known = tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]


def predicted(
    folder: pathlib.Path, config: experiment.Experiment, splits: Iterable[str]
) -> list[Known]:
    """Predicts splits of the config's data with the newest checkpoint of a run."""
    model = config.model.make(config.objective.channels)
    calibrated = calibration.load(folder / run_report.CALIBRATION_FILE)
    predict = predictions.BatchPredictor(config, model)
    variables = checkpoints.load_variables(folder)
    opened, found = data.open_splits(config.data.source.prepare()), []
    for name in splits:
        for image in predict.split(variables, opened[name]):
            logits = calibrated(image.edge_logits)
            found.append((image.labels, (logits.across, logits.along)))
    return found


def fit(teaching: list[Known], steps: int) -> dict[str, np.ndarray]:
    """Fits the networks of both edges; returns their whole numbers by their names in the file."""
    partitions, predicted = map(list, zip(*teaching, strict=True))
    plain = contours.network(False)
    networks = []
    for edge in (LEFT, ABOVE):
        found = train_contours.samples(partitions, edge, predicted)
        print(f"edge {edge}: {len(found.bits)} samples, {found.bits.mean():.4f} of them cut")
        inputs = len(contours.window(edge)) + contours.BORDER_INPUTS
        start = train_contours.fractions([layer[edge] for layer in plain[:6]], inputs)
        networks.append(train_contours.train(found, inputs, steps, start))
    arrays = train_contours.whole(networks, np.zeros(3)) | {"quiet": plain[6]}
    return {f"given_{name}": array for name, array in arrays.items()}


def write(arrays: dict[str, np.ndarray]) -> None:
    """Puts arrays into the file beside those that are there, and into use."""
    with np.load(TARGET) as stored:
        both: dict[str, Any] = dict(stored) | arrays
    np.savez_compressed(TARGET, **both)
    contours.network.cache_clear()
    contours.side_start.cache_clear()


def main() -> None:
    """Predicts, fits, learns, compares, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="of a frontier run")
    parser.add_argument("--spaces", type=int, default=150, help="rooms that teach")
    parser.add_argument("--steps", type=int, default=20_000, help="of the optimizer, per network")
    arguments = parser.parse_args()
    config = experiment.load(arguments.workdir)
    source = config.data.source
    if not isinstance(source, sources.EmbeddedRooms):
        parser.error(f"--workdir={arguments.workdir}: a run on the embedded rooms was expected")
    held_out = predicted(arguments.workdir, config, ("validation",))
    others = dataclasses.replace(source.rooms, seed=source.rooms.seed + 1, spaces=arguments.spaces)
    config.data.source = dataclasses.replace(source, rooms=others)
    teaching = predicted(arguments.workdir, config, ("train", "validation", "test"))
    write(fit(teaching, arguments.steps))
    learned = contours.SideStart.blank()
    for labels, logits in teaching:
        contours.learn(labels, logits, learned)
    np.minimum(learned.counts, MOST_COUNT, out=learned.counts)
    write({f"side_{name}": part for name, part in learned._asdict().items()})
    plain = sum(codec.code_length_bits(labels) for labels, _ in held_out)
    told = sum(codec.code_length_bits(labels, logits) for labels, logits in held_out)
    images = len(held_out)
    print(f"{images} images: {plain / images:.0f} bits without prediction, {told / images:.0f}")
    print(f"given it, {told / plain:.3f} of that; {TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
