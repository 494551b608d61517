"""Compares losses in strips with losses of the resized outputs: `python -m benchmarks.strips`.

256 outputs at 60x80 for an image of 480x640, values and gradients. Memory is XLA's own count of
temporaries; runs alternate, and the ratio of their medians is what counts.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.io import command_line
from psp_jax.models import resampling
from psp_jax.objectives import bins, losses, strips

SIZE, OUTPUTS, RUNS = (480, 640), (60, 80, 256), 3
CENTERS = bins.LogBins(0.3, 10.0, OUTPUTS[-1]).log_centers()


def hard(logits, labels):
    """Cross-entropy of one class."""
    return losses.cross_entropy(logits, labels)


def soft(logits, labels):
    """Cross-entropy of soft labels."""
    targets = bins.soft_labels(labels.astype(jnp.float32), logits.shape[-1], sharpness=0.2)
    return losses.soft_cross_entropy(logits, targets)


def expected(logits, labels):
    """Squared error of the expected value."""
    return jnp.square(bins.expected_value(logits, CENTERS) - jnp.asarray(CENTERS)[labels])


def main() -> None:
    """Prints one line per loss."""
    command_line.Parser(prog="python -m benchmarks.strips", description=__doc__).parse()
    rng = np.random.default_rng(0)
    output = jnp.asarray(rng.normal(size=(1, *OUTPUTS)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, OUTPUTS[-1], (1, *SIZE)), jnp.int32)
    print(f"{OUTPUTS[-1]} outputs at 480x640 on {jax.devices()[0].device_kind}, resized / strips")
    for function in (hard, soft, losses.ordinal, expected):

        def naive(output, labels, function=function):
            return function(resampling.resize(output, SIZE), labels).mean()

        def in_strips(output, labels, function=function):
            return strips.map_pixels(function, output, SIZE, labels).mean()

        compiled = [
            jax.jit(jax.value_and_grad(loss)).lower(output, labels).compile()
            for loss in (naive, in_strips)
        ]
        gradients = [call(output, labels)[1] for call in compiled]
        error = jnp.abs(gradients[0] - gradients[1]).max() / jnp.abs(gradients[0]).max()
        memory = [call.memory_analysis().temp_size_in_bytes / 2**20 for call in compiled]
        rounds = [[elapsed(call, output, labels) for call in compiled] for _ in range(RUNS)]
        seconds = [statistics.median(column) for column in zip(*rounds, strict=True)]
        print(
            f"{function.__name__:<9} {memory[0]:7.1f} / {memory[1]:5.1f} MiB = "
            f"{memory[1] / memory[0]:.1%}   {seconds[0]:.3f} / {seconds[1]:.3f} s = "
            f"{seconds[1] / seconds[0]:.2f}   gradients differ by {error:.1e} of the largest",
            flush=True,
        )


def elapsed(call, *arguments) -> float:
    """Returns the seconds that a call takes."""
    began_s = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
