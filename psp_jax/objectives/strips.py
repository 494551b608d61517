"""Per-pixel functions of upsampled outputs, computed in strips of rows to save memory.

256 logits per pixel of a 480x640 image take 300 MiB, and the gradient of a loss needs several such
arrays. A network that classifies at 1/8 of the size does not need them whole: each strip of rows is
upsampled, used and dropped, and upsampled again in the backward pass.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.models import resampling

# On a CPU, rows times channels of a strip: 8 rows of 256 logits. More is no faster and needs more
# memory.
STRIP_OUTPUTS = 2048
STRIP_ROWS = 16  # With 16 logits, 128 rows take 1.5 times as long and 5 times the memory.
# On a GPU, bytes of the outputs of a strip: what fits is computed at once.
STRIP_BYTES = 256 * 2**20

# From `[B, R, W, K]` float32 outputs and images `[B, R, W, ...]` to arrays `[B, R, W, ...]`.
PixelFunction = Callable[..., Any]


def map_pixels(
    function: PixelFunction,
    output: jax.Array,
    size: tuple[int, ...],
    *images: Any,
    rows: int | None = None,
) -> Any:
    """Computes `function(resampling.resize(output, size), *images)` without the resized array.

    Args:
        function: maps outputs and images of a strip to an array or a tree of arrays; it must treat
            every row by itself.
        output: `[B, h, w, K]` outputs of the network; converted to float32.
        size: height and width of the images.
        images: more arguments of `function`: `[B, H, W, ...]` arrays, or trees of them.
        rows: rows of a strip, which limit the memory.

    Returns:
        The results of `function`, `[B, H, W, ...]`.
    """
    output = output.astype(jnp.float32)
    height, width = size
    rows = min(height, rows or _most_rows(len(output), width, output.shape[-1]))
    count = math.ceil(height / rows)
    rows = math.ceil(height / count)
    if output.shape[1:3] == tuple(size):
        source, resize = _strips(output, count, rows), lambda strip: strip
    else:
        # The rows that complete the last strip are 0.
        matrix = resampling.align_corners_matrix(output.shape[1], height)
        source = np.pad(matrix, ((0, count * rows - height), (0, 0))).reshape(count, rows, -1)
        columns = jnp.asarray(resampling.align_corners_matrix(output.shape[2], width))
        precision = jax.lax.Precision.HIGHEST  # As in `resampling.resize`.

        def resize(strip: jax.Array) -> jax.Array:
            strip = jnp.einsum("rh,bhwk->brwk", strip, output, precision=precision)
            return jnp.einsum("vw,brwk->brvk", columns, strip, precision=precision)

    @jax.checkpoint
    def step(carry: None, strip: tuple[Any, Any]) -> tuple[None, Any]:
        source, images = strip
        return carry, function(resize(source), *images)

    strips = jax.tree.map(lambda image: _strips(jnp.asarray(image), count, rows), images)
    _, results = jax.lax.scan(step, None, (source, strips))
    return jax.tree.map(lambda result: _joined(result, height), results)


def _most_rows(batch: int, width: int, channels: int) -> int:
    """Returns the rows of a strip that suit the device."""
    if jax.default_backend() == "cpu":
        return max(1, min(STRIP_ROWS, STRIP_OUTPUTS // channels))
    return max(1, STRIP_BYTES // (4 * batch * width * channels))


def _strips(image: jax.Array, count: int, rows: int) -> jax.Array:
    """Splits `[B, H, ...]` into `[count, B, rows, ...]`; zeros complete the last strip."""
    padding = [(0, 0), (0, count * rows - image.shape[1])] + [(0, 0)] * (image.ndim - 2)
    image = jnp.pad(image, padding)
    return jnp.moveaxis(image.reshape(image.shape[0], count, rows, *image.shape[2:]), 1, 0)


def _joined(strips: jax.Array, height: int) -> jax.Array:
    """Undoes `_strips`."""
    count, batch, rows = strips.shape[:3]
    image = jnp.moveaxis(strips, 0, 1).reshape(batch, count * rows, *strips.shape[3:])
    return image[:, :height]
