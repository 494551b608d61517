"""Trains the network that the contour coder ships with, on drawn rooms only.

Run `python -m benchmarks.train_contours [--rooms=FOLDER] [--steps=10000]`. It draws rooms of
480x640, cuts them with `Smoothed` at several trades and with SEEDS and SLIC, collects what is known
around every edge that has to be coded, fits one network for the edges to the left and one for those
above, and writes their whole numbers to `psp_jax/partition/coding/contours.npz`. The file is part
of the format: a stream decodes only with the network it was encoded with.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_builders.rooms import generate
from data_builders.scannet_frontiers import sens
from psp_jax.partition import compilation, fill, planar, smoothing, superpixels
from psp_jax.partition.coding import arithmetic, contours
from psp_jax.partition.coding.contours import ABOVE, COLUMNS_ASIDE, LEFT, PAD, ROWS_UP

ROOMS = generate.Rooms(spaces=12, frames_per_scan=3, depth_height=480, depth_width=640)
LAYERS = (32, 16)
BATCH = 8192
LEARNING_RATE = 3e-3
TARGET = pathlib.Path(contours.__file__).parent / "contours.npz"
# What the network shall know: cuts, and of how many frames each takes one.
CUTS: list[tuple[superpixels.Superpixels, int]] = [
    *((smoothing.Smoothed(trade=trade), 1) for trade in (3e-4, 1e-3, 3e-3)),
    (planar.Planar(), 3),
    (superpixels.Seeds(), 8),
    (superpixels.Slic(region_px=40, ruler=40.0), 8),
]


def depth_frames(folder: pathlib.Path) -> list[np.ndarray]:
    """Draws the rooms, unless they are there, and returns their filled depth images."""
    generate.generate(ROOMS, folder)
    images = []
    for path in sorted(folder.glob("scans/*/*.sens")):
        with sens.Reader(path) as reader:
            images += [sens.decode_depth(frame.depth, reader.header) for frame in reader.frames()]
    return [fill.fill_nearest(image)[0] for image in images if image.any()]


@compilation.compile_cached
def _collect(cut, height, width, edge, near, inputs, bits):
    """Writes the inputs and the bit of every edge with something cut around; returns counts."""
    row_step = width + 2 * PAD
    found, quiet, born = 0, np.zeros(3), np.zeros(3)
    for row in range(height):
        for column in range(width):
            if (column if edge == LEFT else row) == 0:
                continue
            at = ((row + PAD) * row_step + column + PAD) * 2
            if edge == ABOVE and column > 0:
                if np.int64(cut[at]) + cut[at - 1] + cut[at - 2 * row_step] < 2:
                    continue
            around = 0
            for place in range(near.size):
                around += cut[at + near[place]]
            if around == 0:
                which = 2 if edge == ABOVE else (1 if row == 0 else 0)
                quiet[which] += 1
                born[which] += cut[at + edge]
                continue
            if found < bits.size:
                for place in range(near.size):
                    inputs[found, place] = cut[at + near[place]]
                place = near.size
                borders = (column, width - 1 - column, row, height - 1 - row)
                for side in range(4):
                    reach = COLUMNS_ASIDE if side < 2 else ROWS_UP
                    if borders[side] < reach:
                        inputs[found, place + borders[side]] = 1
                    place += reach
                bits[found] = cut[at + edge]
                found += 1
    return found, quiet, born


def samples(
    partitions: list[np.ndarray], edge: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns packed inputs, bits, and how many quiet edges there are and how many are cut."""
    known = contours.window(edge)
    packed, bits, quiet, born = [], [], np.zeros(3), np.zeros(3)
    for labels in partitions:
        height, width = labels.shape
        row_step = width + 2 * PAD
        near = (-known[:, 0] * row_step + known[:, 1]) * 2 + known[:, 2]
        inputs = np.zeros((labels.size, len(known) + contours.BORDER_INPUTS), np.uint8)
        bit = np.zeros(labels.size, np.uint8)
        cut = contours.padded(labels).reshape(-1)
        found, quiet_here, born_here = _collect(cut, height, width, edge, near, inputs, bit)
        packed.append(np.packbits(inputs[:found], axis=1))
        bits.append(bit[:found])
        quiet, born = quiet + quiet_here, born + born_here
    return np.concatenate(packed), np.concatenate(bits), quiet, born


def train(packed: np.ndarray, bits: np.ndarray, inputs: int, steps: int) -> list:
    """Fits a network to the bits by cross entropy; returns weights and biases of its layers."""
    sizes = (inputs, *LAYERS, 1)
    keys = jax.random.split(jax.random.key(0), len(LAYERS) + 1)
    variables = [
        (jax.random.normal(key, (size, then)) * (2.0 / min(size, 30)) ** 0.5, jnp.zeros(then))
        for key, size, then in zip(keys, sizes, sizes[1:], strict=False)
    ]

    def loss(variables: list, x: jax.Array, y: jax.Array) -> jax.Array:
        for weight, bias in variables[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        logit = (x @ variables[-1][0] + variables[-1][1])[:, 0]
        return optax.sigmoid_binary_cross_entropy(logit, y).mean()

    tx = optax.adamw(optax.cosine_decay_schedule(LEARNING_RATE, steps), weight_decay=1e-4)
    moments = tx.init(variables)

    @jax.jit
    def step(variables: list, moments: optax.OptState, x: jax.Array, y: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(loss)(variables, x, y)
        updates, moments = tx.update(gradient, moments, variables)
        return optax.apply_updates(variables, updates), moments, value

    rng, values = np.random.default_rng(0), []
    for index in range(steps):
        chosen = rng.integers(0, len(bits), BATCH)
        x = np.unpackbits(packed[chosen], axis=1)[:, :inputs].astype(np.float32)
        variables, moments, value = step(variables, moments, x, bits[chosen].astype(np.float32))
        values.append(value)
        if (index + 1) % 1000 == 0:
            mean = float(np.mean(np.array(values[-1000:]))) / np.log(2)
            print(f"step {index + 1}: {mean:.5f} bits an edge", flush=True)
    return [(np.asarray(weight), np.asarray(bias)) for weight, bias in variables]


def whole(networks: list, quiet: np.ndarray) -> dict[str, np.ndarray]:
    """Rounds the two networks to the steps that `contours` works in."""

    def weights(layer: int) -> np.ndarray:
        most = max(len(network[layer][0]) for network in networks)
        arrays = [
            np.pad(network[layer][0], ((0, most - len(network[layer][0])), (0, 0)))
            for network in networks
        ]
        return np.stack(arrays)

    def biases(layer: int) -> np.ndarray:
        return np.stack([network[layer][1] for network in networks])

    def rounded(values: np.ndarray, bits: int) -> np.ndarray:
        most = contours.MOST_WEIGHT if bits == contours.WEIGHT_BITS else contours.MOST_ACTIVE
        return np.clip(np.round(values * 2.0**bits), -most, most).astype(np.int16)

    active, weight = contours.ACTIVE_BITS, contours.WEIGHT_BITS
    probability = np.clip(np.round(quiet * arithmetic.ONE), 1, arithmetic.HALF)
    return {
        "hidden": rounded(weights(0), active),  # Its inputs are bits, so these are activations.
        "hidden_bias": rounded(biases(0), active),
        "second": rounded(weights(1), weight),
        "second_bias": rounded(biases(1), active),
        "last": rounded(weights(2)[..., 0], weight),
        "last_bias": rounded(biases(2)[..., 0], active),
        "quiet": probability.astype(np.int32),
    }


def main() -> None:
    """Draws, cuts, trains, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=pathlib.Path, default=pathlib.Path("data/rooms_480x640"))
    parser.add_argument("--steps", type=int, default=10000)
    arguments = parser.parse_args()
    frames_mm = depth_frames(arguments.rooms)
    partitions = [cut(depth) for cut, every in CUTS for depth in frames_mm[::every]]
    print(f"{len(partitions)} partitions of {len(frames_mm)} frames", flush=True)
    networks, quiet, born = [], np.zeros(3), np.zeros(3)
    for edge in (LEFT, ABOVE):
        packed, bits, quiet_here, born_here = samples(partitions, edge)
        print(f"edge {edge}: {len(bits)} samples, {bits.mean():.4f} of them cut", flush=True)
        inputs = len(contours.window(edge)) + contours.BORDER_INPUTS
        networks.append(train(packed, bits, inputs, arguments.steps))
        quiet, born = quiet + quiet_here, born + born_here
    np.savez_compressed(TARGET, **whole(networks, (born + 0.5) / (quiet + 1)))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
