"""Testing as PSPNet's results were measured: windows, scales and mirror images, averaged.

The published protocols (hszhao/PSPNet's MATLAB scripts, hszhao/semseg's test.py) differ in every
detail that can differ, which is worth points of mIoU, so each detail is a field.

    @jax.jit
    def scores(image):
        align_corners = model.architecture.align_corners
        output = model.apply(variables, image)
        return resampling.resize(output, image.shape[1:3], align_corners=align_corners)

    probabilities = sliding.predict(scores, image, sliding.SEMSEG_473)
"""

import dataclasses
import enum
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.models import resampling

# Maps `[B, h, w, C]` images to `[B, h, w, classes]` unnormalised scores of their size.
Scores = Callable[[jax.Array], jax.Array]


class Merge(enum.Enum):
    """What is joined of an image and its mirror image."""

    LOGITS = "logits"  # Scores are summed, then softmax, as in Caffe.
    PROBABILITIES = "probabilities"  # Softmax of each, then the mean, as in semseg.


class Padding(enum.Enum):
    """Where an image smaller than the window is padded."""

    CENTRED = "centred"  # As in semseg; the odd pixel at the bottom and right.
    BOTTOM_RIGHT = "bottom_right"  # As in Caffe.


class Resizing(enum.Enum):
    """How images are scaled and probabilities are scaled back."""

    LINEAR = "linear"  # OpenCV's INTER_LINEAR, as in semseg.
    ANTIALIASED = "antialiased"  # MATLAB's imresize, which smooths when it shrinks, as in Caffe.


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How an image is tested.

    Attributes:
        crop: rows and columns of the window that the network sees.
        base: pixels along the image's longer side at scale 1.
        scales: every one is tested, and the probabilities are averaged.
        flip: whether mirror images are tested too.
        merge: what is joined of an image and its mirror image.
        padding: where an image smaller than the window is padded.
        resizing: how images are scaled and probabilities are scaled back.
        extra: pixels added to the longer side after scaling.
    """

    crop: tuple[int, int]
    base: int
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    flip: bool = True
    merge: Merge = Merge.PROBABILITIES
    padding: Padding = Padding.CENTRED
    resizing: Resizing = Resizing.LINEAR
    extra: int = 0

    def __post_init__(self):
        """Raises ValueError if there is nothing to test or nothing to see."""
        if min(self.crop) < 1 or self.base < 1:
            raise ValueError(f"crop={self.crop}, base={self.base}: positive numbers were expected")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales={self.scales}: at least one, all above 0, was expected")


SEMSEG_473 = Protocol((473, 473), 512)  # ADE20K and VOC 2012.
SEMSEG_713 = Protocol((713, 713), 2048)  # Cityscapes.
CAFFE_473 = dataclasses.replace(
    SEMSEG_473,
    merge=Merge.LOGITS,
    padding=Padding.BOTTOM_RIGHT,
    resizing=Resizing.ANTIALIASED,
    extra=1,
)
CAFFE_713 = dataclasses.replace(CAFFE_473, crop=(713, 713), base=2048)


def predict(
    scores: Scores,
    image: jax.Array,
    protocol: Protocol,
    *,
    fill: float | tuple[float, ...] = 0.0,
) -> jax.Array:
    """Returns the class probabilities of an image, averaged over the protocol's scales.

    Args:
        scores: the network with its outputs resized to its input; jit it, every window has the
            same size.
        image: `[B, H, W, C]` float32, normalised.
        protocol: how to test.
        fill: value of the padding, one for all channels or one for each; 0 is the mean of a
            normalised image.

    Returns:
        `[B, H, W, classes]` float32, the sum over classes being 1.
    """
    size, total = image.shape[1:3], 0.0
    for scale in protocol.scales:
        scaled = _resize(image, scaled_size(size, scale, protocol), protocol.resizing)
        probabilities = slide(scores, scaled, protocol, fill=fill)
        total = total + _resize(probabilities, size, protocol.resizing)
    return total / jnp.float32(len(protocol.scales))


def slide(
    scores: Scores, image: jax.Array, protocol: Protocol, *, fill: float | tuple[float, ...]
) -> jax.Array:
    """Returns the class probabilities of an image at its size, averaged where windows overlap."""
    height, width = image.shape[1:3]
    rows, columns = protocol.crop
    top, left = 0, 0
    missing = max(rows - height, 0), max(columns - width, 0)
    if protocol.padding is Padding.CENTRED:
        top, left = missing[0] // 2, missing[1] // 2
    shape = (len(image), height + missing[0], width + missing[1], image.shape[-1])
    padded = jnp.full(shape, jnp.asarray(fill, image.dtype))
    padded = padded.at[:, top : top + height, left : left + width].set(image)
    total, count = None, np.zeros((*padded.shape[1:3], 1), np.float32)
    for row in starts(padded.shape[1], rows):
        for column in starts(padded.shape[2], columns):
            window = slice(row, row + rows), slice(column, column + columns)
            probabilities = classify(scores, padded[:, *window], protocol)
            if total is None:
                total = np.zeros((*padded.shape[:3], probabilities.shape[-1]), np.float32)
            total[:, *window] += probabilities
            count[window] += 1
    assert total is not None  # There is always a first window.
    return jnp.asarray((total / count)[:, top : top + height, left : left + width])


def classify(scores: Scores, image: jax.Array, protocol: Protocol) -> jax.Array:
    """Returns the class probabilities of one window, joined with its mirror image's if asked."""
    own = scores(image)
    if not protocol.flip:
        return jax.nn.softmax(own)
    mirrored = scores(image[:, :, ::-1])[:, :, ::-1]
    if protocol.merge is Merge.LOGITS:
        return jax.nn.softmax(own + mirrored)
    return (jax.nn.softmax(own) + jax.nn.softmax(mirrored)) / 2


def starts(size: int, crop: int) -> list[int]:
    """Returns where windows begin that cover `size` at two thirds of `crop` from each other.

    The last is moved back to end where the image ends.
    """
    stride = -(-2 * crop // 3)
    count = 1 + max(-(-(size - crop) // stride), 0)
    return [max(min(index * stride, size - crop), 0) for index in range(count)]


def scaled_size(size: tuple[int, ...], scale: float, protocol: Protocol) -> tuple[int, int]:
    """Returns the (height, width) of an image at a scale."""
    longer = round(protocol.base * scale) + protocol.extra
    height, width = (max(round(longer / max(size) * length), 1) for length in size)
    return height, width


def _resize(x: jax.Array, size: tuple[int, ...], resizing: Resizing) -> jax.Array:
    if resizing is Resizing.ANTIALIASED:
        return resampling.resize_antialiased(x, size)
    return resampling.resize(x, size, align_corners=False)
