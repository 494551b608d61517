"""Teaches the contour coder how far to trust what a network predicted of the edges.

Run `python -m benchmarks.train_side --workdir=runs/frontier_edges`. It goes through the validation
split of that run, which chose nothing of the network, codes the true partition of every image given
the calibrated prediction, and keeps what the mixture has learned: weights and the table of the
side information in `psp_jax/partition/coding/contours.npz`. Every other room teaches; on the rest
it prints the bits without prediction, from a blank start and from what was learned. The file is
part of the format of streams with side information.
"""

import argparse
import pathlib

import numpy as np

from psp_jax import checkpoints, data, experiment, results
from psp_jax.partition import calibration, coding
from psp_jax.partition.coding import contours

TARGET = pathlib.Path(contours.__file__).parent / "contours.npz"
MOST_COUNT = 60  # Of an entry; a frame may still be another one.


def main() -> None:
    """Codes, learns, compares, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    folder = parser.parse_args().workdir
    config = experiment.load(folder)
    model = config.model.make(config.objective.channels)
    calibrated = calibration.load(folder / results.CALIBRATION_FILE)
    examples = data.open_splits(config.data.source.prepare())["validation"]
    predict = results.predictor(config, model, checkpoints.load_variables(folder))
    rooms = data.places(examples)["space_id"]
    teaching = set(sorted(set(rooms))[::2])
    views = zip(results.views_of(predict, config, examples), rooms, strict=True)
    learned, held_out = contours.SideStart.blank(), []
    for view, room in views:
        scored = calibrated(view.scored)
        logits = scored.across, scored.along
        if room in teaching:
            contours.learn(view.labels, logits, learned)
        else:
            held_out.append((view.labels, logits))
    np.minimum(learned.counts, MOST_COUNT, out=learned.counts)
    plain = sum(coding.partition_bits(labels) for labels, _ in held_out)
    blank, taught = 0.0, 0.0
    for labels, logits in held_out:
        blank += contours.learn(labels, logits, contours.SideStart.blank())
        taught += contours.learn(labels, logits, learned.copy())
    images = len(held_out)
    print(f"{images} images: {plain / images:.0f} bits without prediction; given it")
    print(f"{blank / plain:.3f} of that from a blank start, {taught / plain:.3f} from the learned")
    with np.load(TARGET) as stored:
        arrays = dict(stored)
    arrays |= {f"side_{name}": part for name, part in learned._asdict().items()}
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
