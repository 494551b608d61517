"""Predicts class probabilities with the published test protocols of PSPNet.

They average sliding windows, scales and mirror images. The implementations (the MATLAB scripts of
hszhao/PSPNet, test.py of hszhao/semseg) differ in many details, which together are worth points of
mIoU, so each detail is a field.

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
    """Outputs of an image and its mirror image that are merged."""

    LOGITS = "logits"  # Scores are summed, then softmax, as in Caffe.
    PROBABILITIES = "probabilities"  # Softmax of each, then the mean, as in semseg.


class Padding(enum.Enum):
    """Position of the padding of an image smaller than the window."""

    CENTRED = "centred"  # As in semseg; an odd pixel goes to the bottom or right.
    BOTTOM_RIGHT = "bottom_right"  # As in Caffe.


class Resizing(enum.Enum):
    """Interpolation of images, and of probabilities on the way back."""

    LINEAR = "linear"  # OpenCV's INTER_LINEAR, as in semseg.
    ANTIALIASED = "antialiased"  # MATLAB's imresize, which smooths when it shrinks, as in Caffe.


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A test protocol.

    Attributes:
        crop: rows and columns of the window, the network's input.
        base: length of the image's longer side at scale 1, in pixels.
        scales: scales whose probabilities are averaged.
        flip: whether mirror images are averaged, too.
        merge: outputs of an image and its mirror image that are merged.
        padding: position of the padding of an image smaller than the window.
        resizing: interpolation of images and probabilities.
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
        """Raises ValueError for a size or scale that is not positive."""
        if min(self.crop) < 1 or self.base < 1:
            raise ValueError(
                f"crop and base: expected positive numbers, got {self.crop} and {self.base}"
            )
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales: expected one or more positive numbers, got {self.scales}")


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
        scores: the network with its outputs resized to its input; all windows have the same size,
            so it can be jitted.
        image: `[B, H, W, C]` float32, normalised.
        protocol: the test protocol.
        fill: value of the padding, for all channels or for each; 0 is the mean of a normalised
            image.

    Returns:
        `[B, H, W, classes]` float32; the sum over classes is 1.
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
    """Returns the class probabilities of an image at one scale, averaged where windows overlap."""
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
    """Returns the class probabilities of one window, merged with those of its mirror image."""
    upright = scores(image)
    if not protocol.flip:
        return jax.nn.softmax(upright)
    mirrored = scores(image[:, :, ::-1])[:, :, ::-1]
    if protocol.merge is Merge.LOGITS:
        return jax.nn.softmax(upright + mirrored)
    return (jax.nn.softmax(upright) + jax.nn.softmax(mirrored)) / 2


def starts(size: int, crop: int) -> list[int]:
    """Returns the offsets of windows that cover `size`, two thirds of `crop` apart.

    The last window is moved back to end with the image.
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
