"""Trains the contour coder's use of predicted edge logits as side information.

    python -m benchmarks.train_side --workdir=runs/frontier_edges --spaces=150
    python -m benchmarks.train_side --data=configs/photographs.py:calibration --spaces=24 --steps=0

It draws rooms that are in no split of that run and predicts the calibrated logits of their edges.
From them it fits the small network that judges edges given these logits, beginning with the one
that knows none. Then the mixture learns its weights and the table of the side information.
`--steps=0` keeps network and table, and only averages the weights with those it learns: so the
second command follows the first one, and the start suits both models. All goes into
`psp_jax/codec/contours.npz`, which is part of the format of streams with side information. Last, it
prints the code length of the validation split, unconditional and conditional on the prediction.
"""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks import train_contours
from data_builders import sources
from psp_jax import calibrate, codec, data
from psp_jax.codec import contour_network, contours
from psp_jax.codec.contour_network import ABOVE, LEFT
from psp_jax.evaluation import predictions
from psp_jax.io import command_line
from psp_jax.partition import calibration
from psp_jax.weights import pretrained

MOST_COUNT = 60  # Of an entry of the table; a frame may still be another one.
TARGET = train_contours.TARGET

# The partition of an image, and the logits predicted of its edges.
Example = tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]


def predicted(
    trained: pretrained.TrainedModel, source: sources.EmbeddedRooms, splits: Iterable[str]
) -> list[Example]:
    """Predicts splits of a data set with a trained model; without calibration it takes none."""
    config = dataclasses.replace(trained.config, data=dataclasses.replace(trained.config.data))
    config.data.source = source
    calibrated = trained.calibration or calibration.Calibration()
    predict = predictions.BatchPredictor(config, config.model.make(config.objective.channels))
    opened, examples = data.open_splits(source.prepare()), []
    for name in splits:
        for image in predict.split(trained.variables, opened[name]):
            logits = calibrated(image.edge_logits)
            examples.append((image.true_labels, (logits.across, logits.along)))
    return examples


def fit(examples: list[Example], steps: int) -> dict[str, np.ndarray]:
    """Fits the networks of both edges; returns their whole numbers by their names in the file."""
    partitions, predicted = map(list, zip(*examples, strict=True))
    without = contour_network.load(False)
    networks = []
    for edge in (LEFT, ABOVE):
        samples = train_contours.samples(partitions, edge, predicted)
        print(f"edge {edge}: {len(samples.bits)} samples, {samples.bits.mean():.4f} of them cut")
        inputs = train_contours.input_count(edge)
        start = train_contours.fractions([layer[edge] for layer in without[:6]], inputs)
        networks.append(train_contours.train(samples, inputs, steps, start))
    arrays = train_contours.whole(networks, np.zeros(3)) | {"quiet": without.quiet}
    return {f"given_{name}": array for name, array in arrays.items()}


def write(arrays: dict[str, np.ndarray]) -> None:
    """Adds arrays to the file, and reloads it."""
    with np.load(TARGET) as stored:
        both: dict[str, Any] = dict(stored) | arrays
    np.savez_compressed(TARGET, **both)
    contour_network.load.cache_clear()
    contours.side_start.cache_clear()


def learned(start: contours.SideStart, examples: list[Example]) -> contours.SideStart:
    """Returns what the mixture has learned from examples in order, beginning with `start`."""
    result = contours.SideStart(*(part.copy() for part in start))
    for labels, logits in examples:
        contours.learn(labels, logits, result)
    np.minimum(result.counts, MOST_COUNT, out=result.counts)
    return result


def main() -> None:
    """Predicts, fits, learns, compares, writes."""
    parser = command_line.Parser(prog="python -m benchmarks.train_side", description=__doc__)
    add = parser.add_argument
    add("--workdir", type=pathlib.Path, help="of a frontier run (default: the model that ships)")
    add("--data", metavar="FILE[:VARIANT]", help="config file whose rooms are used")
    add("--spaces", type=int, default=150, help="rooms to train on")
    add("--steps", type=int, default=20_000, help="of the optimizer, per network")
    arguments = parser.parse()
    trained = pretrained.load(pretrained.locate(arguments.workdir))
    used = calibrate.load_data(arguments.data) if arguments.data else trained.config.data
    trained.config.data, source = used, used.source
    if not isinstance(source, sources.EmbeddedRooms):
        parser.error("--data: expected an experiment on the embedded rooms")
    held_out = predicted(trained, source, ("validation",))
    rooms = dataclasses.replace(source.rooms, seed=source.rooms.seed + 1, spaces=arguments.spaces)
    others = dataclasses.replace(source, rooms=rooms)
    examples = predicted(trained, others, ("train", "validation", "test"))
    if arguments.steps:
        write(fit(examples, arguments.steps))
        start = learned(contours.SideStart.blank(), examples)
    else:
        start = contours.side_start()
        weights = learned(start, examples).weights
        start = start._replace(weights=(start.weights + weights) // 2)
    write({f"side_{name}": part for name, part in start._asdict().items()})
    unconditional = sum(codec.code_length_bits(labels) for labels, _ in held_out)
    conditional = sum(codec.code_length_bits(labels, logits) for labels, logits in held_out)
    images = len(held_out)
    print(f"mean code length of {images} images: {unconditional / images:.0f} bits unconditional,")
    print(f"{conditional / images:.0f} conditional, ratio {conditional / unconditional:.3f}")
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
