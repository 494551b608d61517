"""Trains the network that the contour coder ships with, on drawn rooms only.

Run `python -m benchmarks.train_contours [--rooms=FOLDER] [--steps=10000]`. It draws rooms of
480x640, segments them with `Smoothed` at several trades and with SEEDS and SLIC, collects the
inputs of every edge that has to be coded, fits one network for the edges to the left and one for
those above, and writes their integers to `psp_jax/codec/contours.npz`. The file is part of the
format: a stream decodes only with the network it was encoded with.
"""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import labels as label_benchmark
from data_builders.rooms import generate
from psp_jax.codec import arithmetic, contour_network
from psp_jax.codec.contour_network import ABOVE, COLUMNS_ASIDE, LEFT, ROWS_UP
from psp_jax.io import command_line
from psp_jax.partition import compilation, fill, planar, smoothing, superpixels

ROOMS = generate.Rooms(spaces=12, frames_per_scan=3, depth_height=480, depth_width=640)
LAYERS = (32, 16)
BATCH = 8192
LEARNING_RATE = 3e-3
TARGET = contour_network.FILE
# What the network is trained on: algorithms, each on every N-th frame, and N.
ALGORITHMS: list[tuple[superpixels.Superpixels, int]] = [
    *((smoothing.Smoothed(trade=trade), 1) for trade in (3e-4, 1e-3, 3e-3)),
    (planar.Planar(), 3),
    (superpixels.Seeds(), 8),
    (superpixels.Slic(region_px=40, ruler=40.0), 8),
]


def depth_frames(folder: pathlib.Path) -> list[np.ndarray]:
    """Draws the rooms, unless they are there, and returns their filled depth images."""
    return [fill.fill_nearest(image)[0] for image in label_benchmark.drawn_rooms(ROOMS, folder)]


class Samples(NamedTuple):
    """The inputs of the edges of one kind that have to be coded, and whether they are cut.

    inputs: `[N, M]` uint8, packed bits.
    sides: `[N, S]` int8, predicted logits around the edge; S is 0 where nothing is predicted.
    bits: `[N]` uint8.
    quiet, born: `[3]`, edges without cut edges in the window, and how many of them are cut.
    """

    inputs: np.ndarray
    sides: np.ndarray
    bits: np.ndarray
    quiet: np.ndarray
    born: np.ndarray


@compilation.compile_cached
def _collect(edges, edge, inputs, sides, bits):
    """Writes the inputs of every edge that the network is used for; returns counts."""
    cut, near = edges.cut, edges.windows[edge][: edges.sizes[edge]]
    width, height, coarse = edges.width, edges.height, edges.coarse_side
    count, quiet, born = 0, np.zeros(3), np.zeros(3)
    for row in range(height):
        for column in range(width):
            if (column if edge == LEFT else row) == 0:
                continue
            at = contour_network.place_of(edges, row, column)
            if edge == ABOVE and column > 0:
                if (
                    np.int64(cut[at])
                    + cut[at - 1]
                    + cut[at - 2 * (width + 2 * contour_network.PAD)]
                    < 2
                ):
                    continue
            around = 0
            for place in range(near.size):
                around += cut[at + near[place]]
            if around == 0 and not contour_network.is_likely(coarse, row, column, edge):
                which = 2 if edge == ABOVE else (1 if row == 0 else 0)
                quiet[which] += 1
                born[which] += cut[at + edge]
                continue
            for place in range(near.size):
                inputs[count, place] = cut[at + near[place]]
            place = near.size
            borders = (column, width - 1 - column, row, height - 1 - row)
            for side in range(4):
                reach = COLUMNS_ASIDE if side < 2 else ROWS_UP
                if borders[side] < reach:
                    inputs[count, place + borders[side]] = 1
                place += reach
            for place in range(sides.shape[1]):
                line, across = divmod(place // 2, 2 * contour_network.SIDE_REACH + 1)
                sides[count, place] = coarse[row + line, column + across, place % 2]
            bits[count] = cut[at + edge]
            count += 1
    return count, quiet, born


def samples(partitions: list[np.ndarray], edge: int, predicted: list | None = None) -> Samples:
    """Collects from partitions, and from the logits predicted of their edges, if there are some."""
    inputs, sides, bits, quiet, born = [], [], [], np.zeros(3), np.zeros(3)
    for index, labels in enumerate(partitions):
        logits = predicted[index] if predicted else None
        edges = contour_network.edges(contour_network.padded(labels), labels.shape, logits)
        seen = np.zeros((labels.size, input_count(edge)), np.uint8)
        around = np.zeros((labels.size, contour_network.SIDE_INPUTS if predicted else 0), np.int8)
        bit = np.zeros(labels.size, np.uint8)
        count, quiet_here, born_here = _collect(edges, edge, seen, around, bit)
        inputs.append(np.packbits(seen[:count], axis=1))
        sides.append(around[:count].copy())
        bits.append(bit[:count])
        quiet, born = quiet + quiet_here, born + born_here
    return Samples(np.concatenate(inputs), np.concatenate(sides), np.concatenate(bits), quiet, born)


def input_count(edge: int) -> int:
    """Returns the number of a network's inputs that are bits."""
    return len(contour_network.window(edge)) + contour_network.BORDER_INPUTS


def train(data: Samples, inputs: int, steps: int, start: list | None = None) -> list:
    """Fits a network to the bits by cross entropy.

    Args:
        data: the samples.
        inputs: how many bits are inputs.
        steps: of the optimizer.
        start: weights and biases to begin with; random ones without.

    Returns:
        Weights and biases of the layers; the last entry is the weights of the predicted logits.
    """
    sizes = (inputs, *LAYERS, 1)
    keys = jax.random.split(jax.random.key(0), len(LAYERS) + 2)
    variables: list = start or [
        (jax.random.normal(key, (size, then)) * (2.0 / min(size, 30)) ** 0.5, jnp.zeros(then))
        for key, size, then in zip(keys, sizes, sizes[1:], strict=False)
    ]
    variables = [*variables, 0.03 * jax.random.normal(keys[-1], (data.sides.shape[1], LAYERS[0]))]

    def loss(variables: list, x: jax.Array, side: jax.Array, y: jax.Array) -> jax.Array:
        (first, first_bias), (second, second_bias), (last, last_bias), beside = variables
        side = side.astype(jnp.float32) / (arithmetic.LOGIT_SCALE >> contour_network.SIDE_SHIFT)
        x = jax.nn.relu(x @ first + side @ beside + first_bias)
        x = jax.nn.relu(x @ second + second_bias)
        return optax.sigmoid_binary_cross_entropy((x @ last + last_bias)[:, 0], y).mean()

    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, 100, steps)
    tx = optax.adamw(rate, weight_decay=1e-4)
    moments = tx.init(variables)

    @jax.jit
    def step(variables: list, moments: optax.OptState, *batch: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(loss)(variables, *batch)
        updates, moments = tx.update(gradient, moments, variables)
        return optax.apply_updates(variables, updates), moments, value

    rng, values = np.random.default_rng(0), []
    for index in range(steps):
        chosen = rng.integers(0, len(data.bits), BATCH)
        x = np.unpackbits(data.inputs[chosen], axis=1)[:, :inputs].astype(np.float32)
        y = data.bits[chosen].astype(np.float32)
        variables, moments, value = step(variables, moments, x, data.sides[chosen], y)
        values.append(value)
        if (index + 1) % 1000 == 0:
            mean = float(np.mean(np.array(values[-1000:]))) / np.log(2)
            print(f"step {index + 1}: {mean:.5f} bits an edge", flush=True)
    return jax.tree.map(np.asarray, variables)


def whole(networks: list, quiet: np.ndarray) -> dict[str, np.ndarray]:
    """Rounds the two networks to the steps of `contour_network`, one array per layer.

    `side` holds the weights of predicted logits.
    """

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
        most = (
            contour_network.MOST_WEIGHT
            if bits == contour_network.WEIGHT_BITS
            else contour_network.MOST_ACTIVE
        )
        return np.clip(np.round(values * 2.0**bits), -most, most).astype(np.int16)

    active, weight = contour_network.ACTIVE_BITS, contour_network.WEIGHT_BITS
    probability = np.clip(np.round(quiet * arithmetic.ONE), 1, arithmetic.HALF)
    return {
        "hidden": rounded(weights(0), active),  # Its inputs are bits, so these are activations.
        "hidden_bias": rounded(biases(0), active),
        "second": rounded(weights(1), weight),
        "second_bias": rounded(biases(1), active),
        "last": rounded(weights(2)[..., 0], weight),
        "last_bias": rounded(biases(2)[..., 0], active),
        "quiet": probability.astype(np.int32),
        "side": rounded(np.stack([network[3] for network in networks]), weight),
    }


def fractions(layers: list[np.ndarray], inputs: int) -> list:
    """Undoes `whole` for the layers of one edge: pairs of weights and biases."""
    hidden, hidden_bias, second, second_bias, last, last_bias = (
        np.asarray(layer, np.float32) for layer in layers
    )
    active, weight = (
        np.float32(2.0**contour_network.ACTIVE_BITS),
        np.float32(2.0**contour_network.WEIGHT_BITS),
    )
    return [
        (hidden[:inputs] / active, hidden_bias / active),
        (second / weight, second_bias / active),
        (last[:, None] / weight, last_bias[None] / active),
    ]


def main() -> None:
    """Draws, segments, trains, writes."""
    parser = command_line.Parser(prog="python -m benchmarks.train_contours", description=__doc__)
    parser.add_argument("--rooms", type=pathlib.Path, default=pathlib.Path("data/rooms_480x640"))
    parser.add_argument("--steps", type=command_line.positive_int, default=10000)
    arguments = parser.parse()
    frames_mm = depth_frames(arguments.rooms)
    partitions = [segment(depth) for segment, every in ALGORITHMS for depth in frames_mm[::every]]
    print(f"{len(partitions)} partitions of {len(frames_mm)} frames", flush=True)
    networks, quiet, born = [], np.zeros(3), np.zeros(3)
    for edge in (LEFT, ABOVE):
        data = samples(partitions, edge)
        print(f"edge {edge}: {len(data.bits)} samples, {data.bits.mean():.4f} of them cut")
        networks.append(train(data, input_count(edge), arguments.steps))
        quiet, born = quiet + data.quiet, born + data.born
    with np.load(TARGET) as stored:  # What `benchmarks/train_side.py` has put there stays.
        kept: dict[str, Any] = {
            name: stored[name] for name in stored if name.startswith(("given_", "side_"))
        }
    kept |= whole(networks, (born + 0.5) / (quiet + 1))
    del kept["side"]  # Nothing is predicted here.
    np.savez_compressed(TARGET, **kept)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
