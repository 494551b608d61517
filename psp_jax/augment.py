"""Random crops and photometric changes of training batches, on the device.

`augment` is a pure function of a batch and a key. Frontier classes stay exact: a crop is enlarged
by nearest label pixels, so neighbours in the new grid read the same or neighbouring source pixels.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.batch import Array, Batch
from psp_jax.io import ranges
from psp_jax.objectives import edges

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG.
_HIGHEST = jax.lax.Precision.HIGHEST  # GPUs would round the weights of pixels to TF32.
BLOCK = 8  # Side of JPEG's blocks, pixels.


@dataclasses.dataclass
class Augmentation:
    """Strengths of the random changes of a training image.

    Of a field without a range, 0 turns the change off; `crop=1` crops nothing.

    Attributes:
        crop: smallest share of height and width that a crop keeps; it is enlarged to the size of
            the image, and depth is divided by the zoom.
        aspect: largest change of a crop's aspect ratio, as a natural logarithm.
        gamma: standard deviation of the logarithm of the exponent of intensities.
        gain: standard deviation of the logarithm of the brightness factor.
        channel_gain: standard deviation of the logarithm of the factor of each channel.
        contrast: standard deviation of the logarithm of the factor about the mean gray.
        saturation: standard deviation of the logarithm of the factor about the gray of a pixel.
        hue: standard deviation of the rotation of colors about the gray axis, radians.
        gray_probability: chance of an image without color.
        blur_probability: chance of a Gaussian blur.
        blur_px: its largest standard deviation, image pixels.
        noise_probability: chance of Gaussian noise, independent for every pixel and channel.
        noise: its largest standard deviation, as a share of white.
        jpeg_probability: chance of the quantization of JPEG, without chroma subsampling.
        jpeg_quality: its smallest and largest quality, 1 to 100.
        border_probability: chance of a black or white border, as some cameras and data sets have.
            The labels under it are those of the nearest pixel inside, and count as truth.
        border: its largest width on each side, as a share of height and width.
    """

    crop: float = ranges.number(0.5, above=0, most=1)
    aspect: float = ranges.number(0.1, least=0)
    gamma: float = ranges.number(0.25, least=0)
    gain: float = ranges.number(0.2, least=0)
    channel_gain: float = ranges.number(0.08, least=0)
    contrast: float = ranges.number(0.2, least=0)
    saturation: float = ranges.number(0.4, least=0)
    hue: float = ranges.number(0.0, least=0)
    gray_probability: float = ranges.number(0.1, least=0, most=1)
    blur_probability: float = ranges.number(0.3, least=0, most=1)
    blur_px: float = ranges.number(1.5, least=0)
    noise_probability: float = ranges.number(0.5, least=0, most=1)
    noise: float = ranges.number(0.05, least=0)
    jpeg_probability: float = ranges.number(0.3, least=0, most=1)
    jpeg_quality: tuple[int, int] = ranges.number((25, 90), least=1, most=100)
    border_probability: float = ranges.number(0.1, least=0, most=1)
    border: float = ranges.number(0.1, least=0, below=0.5)

    def check(self) -> None:
        """Raises ValueError unless the qualities are two, in order."""
        quality = self.jpeg_quality
        if len(quality) != 2 or quality[0] > quality[1]:
            raise ValueError(
                f"config.data.augmentation.jpeg_quality={quality}: expected two numbers in order"
            )


class Span(NamedTuple):
    """A crop and a border along one axis of the label grid; scalars of int32.

    Attributes:
        start: first source pixel of the crop.
        length: pixels of the crop, at most the size of the axis.
        first: first output pixel inside the border.
        last: last output pixel inside the border.
    """

    start: jax.Array
    length: jax.Array
    first: jax.Array
    last: jax.Array

    def scaled(self, scale: int) -> "Span":
        """Returns the same for an axis of `scale` times as many pixels."""
        start, length, first, last = (value * scale for value in self)
        return Span(start, length, first, last + scale - 1)


def augment(
    batch: Batch, key: jax.Array, *, augmentation: Augmentation, max_depth_m: float
) -> Batch:
    """Changes every image of a batch at random, and its labels with it.

    Args:
        batch: its `image` may be `[B, s*H, s*W, 3]` for labels `[B, H, W]` and an integer s.
        key: of all randomness.
        augmentation: the strengths.
        max_depth_m: depth beyond it is no target.

    Returns:
        A batch of the same shapes and dtypes.
    """
    count, height, width = batch.frontier.shape
    scale = batch.image.shape[1] // height

    def one(image: jax.Array, key: jax.Array) -> tuple[jax.Array, Span, Span]:
        span_key, image_key = jax.random.split(key)
        rows, columns = random_spans(span_key, (height, width), augmentation)
        spans = rows.scaled(scale), columns.scaled(scale)
        return photograph(image, image_key, *spans, augmentation), rows, columns

    images = jnp.asarray(batch.image)
    image, rows, columns = jax.vmap(one)(images, jax.random.split(key, count))
    return crop_labels(dataclasses.replace(batch, image=image), rows, columns, max_depth_m)


def crop_labels(batch: Batch, rows: Span, columns: Span, max_depth_m: float) -> Batch:
    """Enlarges a crop of the labels by nearest pixels, frontier classes exactly.

    An edge is cut where the source pixels of its two pixels are different ones with a cut edge in
    between, so the classes are those of the enlarged partition. A zoomed image looks like one that
    a camera of the same focal length takes from nearer, so depth is divided by the zoom, the
    geometric mean of the enlargements of height and width. Depth that comes within `max_depth_m` by
    that becomes a target.

    Args:
        batch: labels `[B, H, W]`; `image` is passed on.
        rows: crop and border of every image along the height, `[B]` each.
        columns: along the width.
        max_depth_m: depth beyond it is no target.
    """
    height, width = batch.frontier.shape[1:]
    row, column = _nearest(rows, height), _nearest(columns, width)  # [B, H], [B, W]
    zoom = jnp.sqrt(height / rows.length * width / columns.length)

    def take(values: Array) -> jax.Array:
        return jax.vmap(lambda x, r, c: x[r][:, c])(jnp.asarray(values), row, column)

    filled, filled_depth = take(batch.filled), take(batch.filled_depth) / zoom[:, None, None]
    # As `data.example_of` does it. Without `ignore_filled`, `filled` is False everywhere.
    depth = jnp.where(filled | (filled_depth > max_depth_m), 0.0, filled_depth)
    moves = jnp.broadcast_arrays(
        jnp.diff(column, append=column[:, -1:])[:, None, :],
        jnp.diff(row, append=row[:, -1:])[:, :, None],
    )
    cut = edges.targets(take(batch.frontier)) & (jnp.stack(moves, axis=-1) == 1)
    return dataclasses.replace(
        batch,
        depth=depth,
        filled_depth=filled_depth,
        frontier=edges.classes_of(cut),
        filled=filled,
    )


def _nearest(span: Span, size: int) -> jax.Array:
    """Returns the `[B, size]` source pixels of an axis; neighbours differ by at most 1."""
    start, length, first, last = (value[:, None] for value in span)
    target = jnp.clip(jnp.arange(size), first, last)
    return start + (2 * target + 1) * length // (2 * size)


def random_spans(
    key: jax.Array, size: tuple[int, int], augmentation: Augmentation
) -> tuple[Span, Span]:
    """Draws crop and border of an image; returns those of rows and columns."""
    crop_key, place_key, border_key = jax.random.split(key, 3)
    share, aspect, chance = jax.random.uniform(crop_key, (3,))
    share = augmentation.crop + (1 - augmentation.crop) * share
    stretch = jnp.exp(jnp.stack([-0.5, 0.5]) * augmentation.aspect * (2 * aspect - 1))
    shares = jnp.clip(share * stretch, augmentation.crop, 1)
    places = jax.random.uniform(place_key, (2,))
    margins = augmentation.border * jax.random.uniform(border_key, (2, 2))
    margins *= chance < augmentation.border_probability
    spans = []
    for axis, pixels in enumerate(size):
        length = jnp.clip(jnp.round(shares[axis] * pixels), 1, pixels).astype(jnp.int32)
        start = jnp.floor(places[axis] * (pixels - length + 1)).astype(jnp.int32)
        before, after = jnp.floor(margins[axis] * pixels).astype(jnp.int32)
        spans.append(Span(start, length, before, pixels - 1 - after))
    return spans[0], spans[1]


def photograph(
    image: jax.Array, key: jax.Array, rows: Span, columns: Span, augmentation: Augmentation
) -> jax.Array:
    """Changes an image `[H, W, 3]` uint8: crop, blur, color, border, noise, JPEG."""
    blur_key, color_key, border_key, noise_key, jpeg_key = jax.random.split(key, 5)
    planes = jnp.moveaxis(image, -1, 0).astype(jnp.float32) / 255  # [3, H, W]
    chance, sigma = jax.random.uniform(blur_key, (2,))
    sigma *= augmentation.blur_px * (chance < augmentation.blur_probability)
    to_rows = _blurred_matrix(rows, image.shape[0], sigma)
    to_columns = _blurred_matrix(columns, image.shape[1], sigma)
    planes = jnp.einsum("cuw,vw->cuv", planes, to_columns, precision=_HIGHEST)
    planes = jnp.einsum("uh,chv->cuv", to_rows, planes, precision=_HIGHEST)
    planes = _recolored(planes, color_key, augmentation)
    if augmentation.border_probability:
        inside = _inside(rows, image.shape[0])[:, None] & _inside(columns, image.shape[1])[None]
        white = jax.random.bernoulli(border_key).astype(jnp.float32)
        planes = jnp.where(inside[None], planes, white)
    if augmentation.noise_probability:
        strength_key, pixel_key = jax.random.split(noise_key)
        chance, sigma = jax.random.uniform(strength_key, (2,))
        sigma *= augmentation.noise * (chance < augmentation.noise_probability)
        planes += sigma * _normal_planes(pixel_key, image.shape[:2])
    levels = jax.lax.optimization_barrier(jnp.clip(planes, 0, 1) * 255)
    if augmentation.jpeg_probability:
        chance, share = jax.random.uniform(jpeg_key, (2,))
        low, high = augmentation.jpeg_quality
        compressed = jpeg(levels, low + (high - low) * share)
        levels = jnp.where(chance < augmentation.jpeg_probability, compressed, levels)
    return jnp.moveaxis(jnp.clip(jnp.round(levels), 0, 255).astype(jnp.uint8), 0, -1)


def _normal_planes(key: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Draws `[3, H, W]` normal values of 1,024 levels, from one random number a pixel."""
    bits = jax.random.bits(key, size, jnp.uint32)
    levels = jnp.stack([(bits >> shift) & 1023 for shift in (0, 10, 20)])
    return np.sqrt(2) * jax.lax.erf_inv((levels.astype(jnp.float32) + 0.5) / 512 - 1)


def _inside(span: Span, size: int) -> jax.Array:
    pixels = jnp.arange(size)
    return (span.first <= pixels) & (pixels <= span.last)


def _blurred_matrix(span: Span, size: int, sigma: jax.Array) -> jax.Array:
    """Returns the `[size, size]` matrix that enlarges a crop bilinearly, then blurs it."""
    pixels = jnp.arange(size)
    end = span.start + span.length - 1
    centre = span.start + (pixels + 0.5) * span.length / size - 0.5
    centre = jnp.clip(centre, span.start, end)  # The crop ends with its outer pixels.
    linear = jnp.maximum(1 - jnp.abs(pixels[None] - centre[:, None]), 0)
    steps = (pixels[None] - pixels[:, None]) / jnp.maximum(sigma, 0.05)  # At .05, the identity.
    blur = jax.nn.softmax(-0.5 * steps**2, axis=-1)
    return jnp.matmul(blur, linear, precision=_HIGHEST)


def _recolored(planes: jax.Array, key: jax.Array, augmentation: Augmentation) -> jax.Array:
    """Changes white balance, hue, saturation, gain, contrast and gamma of `[3, H, W]` in 0..1.

    All but gamma is one affine map of colors.
    """
    normal_key, channel_key, gray_key = jax.random.split(key, 3)
    gamma, gain, contrast, saturation, hue = jax.random.normal(normal_key, (5,))
    channel_gains = jnp.exp(augmentation.channel_gain * jax.random.normal(channel_key, (3,)))
    saturation = jnp.exp(augmentation.saturation * saturation)
    saturation *= ~jax.random.bernoulli(gray_key, augmentation.gray_probability)
    to_gray = jnp.tile(jnp.asarray(LUMA), (3, 1))
    color = _hue_rotation(augmentation.hue * hue) * channel_gains[None]
    color = (to_gray + saturation * (jnp.eye(3) - to_gray)) @ color
    color *= jnp.exp(augmentation.gain * gain)
    mean = to_gray @ color @ planes.mean((1, 2))
    contrast = jnp.exp(augmentation.contrast * contrast)
    planes = _mix(contrast * color, planes)
    planes = jnp.clip(planes + ((1 - contrast) * mean)[:, None, None], 0, 1)
    return planes ** jnp.exp(augmentation.gamma * gamma)


def _hue_rotation(angle: jax.Array) -> jax.Array:
    """Returns the `[3, 3]` rotation of colors about the gray axis (Rodrigues' formula)."""
    cross = jnp.asarray([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return jnp.cos(angle) * jnp.eye(3) + (1 - jnp.cos(angle)) / 3 + jnp.sin(angle) * cross


def jpeg(levels: jax.Array, quality: jax.Array) -> jax.Array:
    """Quantizes an image as JPEG does, without subsampling of chroma (ITU-T T.81, libjpeg's scale).

    Args:
        levels: `[3, H, W]` float32 RGB, 0 to 255.
        quality: 1 to 100.

    Returns:
        The decoded image, neither rounded nor clipped.
    """
    _, height, width = levels.shape
    padding = ((0, 0), (0, -height % BLOCK), (0, -width % BLOCK))
    planes = jnp.pad(
        _mix(_TO_YCBCR, levels) - jnp.asarray(_CENTRES)[:, None, None], padding, "edge"
    )
    shape = (3, planes.shape[1] // BLOCK, BLOCK, planes.shape[2] // BLOCK, BLOCK)
    scale = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    tables = jnp.clip(jnp.floor((jnp.asarray(_TABLES) * scale + 50) / 100), 1, 255)
    tables = tables[:, None, :, None, :]
    blocks = _block_transform(planes.reshape(shape), _DCT)
    blocks = jnp.round(blocks / tables) * tables
    planes = _block_transform(blocks, _DCT.T).reshape(planes.shape)[:, :height, :width]
    return _mix(np.linalg.inv(_TO_YCBCR), planes + jnp.asarray(_CENTRES)[:, None, None])


def _block_transform(blocks: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiplies the rows and the columns of blocks `[3, h, 8, w, 8]` by a matrix."""
    blocks = jnp.einsum("chawb,lb->chawl", blocks, matrix, precision=_HIGHEST)
    return jnp.einsum("ka,chawl->chkwl", matrix, blocks, precision=_HIGHEST)


def _mix(matrix: Array, planes: jax.Array) -> jax.Array:
    """Multiplies the color of every pixel of `[3, H, W]` by a `[3, 3]` matrix."""
    return jnp.einsum("dc,chw->dhw", jnp.asarray(matrix, planes.dtype), planes, precision=_HIGHEST)


def _dct_matrix() -> np.ndarray:
    """Returns the orthonormal `[8, 8]` matrix of the DCT-II."""
    rows, columns = np.mgrid[0:BLOCK, 0:BLOCK]
    matrix = np.cos(np.pi * rows * (2 * columns + 1) / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


_DCT = _dct_matrix()
# JFIF 1.02: Y, Cb, Cr of R, G, B in 0..255.
_TO_YCBCR = np.array([LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)], np.float32)
_CENTRES = np.array([128, 0, 0], np.float32)  # Blocks are centred; chroma is without its offset.
# ITU-T T.81, tables K.1 and K.2.
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = np.full((BLOCK, BLOCK), 99, np.float32)
_CHROMA_TABLE[:4, :4] = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
_TABLES = np.stack([np.array(_LUMA_TABLE, np.float32), _CHROMA_TABLE, _CHROMA_TABLE])
