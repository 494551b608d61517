"""The container: a depth image as regions in one string of bytes, checked before it is decoded.

Little endian: magic, version, flags, height, width, least and most depth in millimetres, the
step; then, by the flags, the step of the residuals; the lengths of all parts as base-128 numbers;
the parts (partition, patches, residuals, holes); and a CRC-32 of everything before it.
"""

import dataclasses
import math
import struct
import zlib
from typing import NamedTuple

import numpy as np

from psp_jax.codec import contours, holes, patches, region_shapes, residuals
from psp_jax.codec.contour_network import EdgeLogits
from psp_jax.io.units import MM_PER_M
from psp_jax.partition import fill, frontier_classes

MAGIC = b"PD"
VERSION = 1
# 8.4 megapixels, more than any depth sensor has: the most that a few hostile bytes can claim, which
# costs seconds and 0.5 GB.
MAX_PIXELS = 1 << 23
MAX_SIDE_PX = 65535
DEFAULT_TRADE = 1e-3
_HOLES, _RESIDUALS, _OLD_SIDE, _SIDE = 1, 2, 4, 8  # Flags.
_HEADER = struct.Struct("<2sBBHHHHb")
_CHECKSUM = struct.Struct("<I")
_STEPS = (-56, 24)  # Of the logarithm to base 2 of the squared step.
_MAX_DIGITS = 9  # Of a base-128 number.


class _Header(NamedTuple):
    magic: bytes
    version: int
    flags: int
    height: int
    width: int
    least_mm: int
    most_mm: int
    step: int

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest inverse depth, in units."""
        return patches.NEAREST // self.most_mm, patches.NEAREST // self.least_mm

    @property
    def start(self) -> int:
        """The middle of the range of inverse depth."""
        return sum(self.limits) // 2


@dataclasses.dataclass(frozen=True)
class Parts:
    """A coded frame in parts.

    Attributes:
        stream: the whole stream.
        partition, patches, residuals, holes: bytes of each part; the rest is header and checksum.
        ideal_bits: ideal length of the four parts, without coder, header and checksum.
    """

    stream: bytes
    partition: int
    patches: int
    residuals: int
    holes: int
    ideal_bits: float


def encode(
    depth_mm: np.ndarray,
    labels: np.ndarray,
    *,
    trade: float = DEFAULT_TRADE,
    max_error_per_m: float | None = None,
    edge_logits: EdgeLogits | None = None,
) -> bytes:
    """Codes a depth image as a partition, without loss, and a patch of inverse depth per region.

    Args:
        depth_mm: `[H, W]` uint16 millimetres; 0 marks no reading, and decodes as 0 again.
        labels: `[H, W]` integers, one number per region; their 4-connected pieces are coded.
        trade: squared error of inverse depth, in 1/m^2, that one bit may save, as in `Planar`:
            it sets the steps of the patches' coefficients and their number.
        max_error_per_m: if given, residuals are coded so that the inverse depth of no pixel errs
            by more, before it is rounded to whole millimetres.
        edge_logits: side information; see `code_length_bits`; decoding needs it too.

    Returns:
        The stream.

    Raises:
        ValueError: if an argument is out of its range or of another size.
    """
    return encode_parts(
        depth_mm, labels, trade=trade, max_error_per_m=max_error_per_m, edge_logits=edge_logits
    ).stream


def encode_parts(
    depth_mm: np.ndarray,
    labels: np.ndarray,
    *,
    trade: float = DEFAULT_TRADE,
    max_error_per_m: float | None = None,
    edge_logits: EdgeLogits | None = None,
) -> Parts:
    """Codes as `encode` does and returns the length of each part, too."""
    _check_images(depth_mm, labels)
    labels, step = frontier_classes.split_connected(labels), _step_of(trade)
    filled_mm, missing = fill.fill_nearest(depth_mm)
    flags = (
        _HOLES * bool(missing.any())
        | _RESIDUALS * (max_error_per_m is not None)
        | _SIDE * (edge_logits is not None)
    )
    limits_mm = int(filled_mm.min()), int(filled_mm.max())
    header = _Header._make([MAGIC, VERSION, flags, *depth_mm.shape, *limits_mm, step])
    regions = region_shapes.describe(labels, step)
    inverse = patches.inverse_depth(filled_mm)
    orders, coefficients = patches.fit(regions, inverse, ~missing, step)
    coded = {
        "partition": contours.encode(labels, edge_logits),
        "patches": patches.encode(regions, orders, coefficients, header.start),
    }
    numbers = b""
    if max_error_per_m is not None:
        residual_step = _residual_step(max_error_per_m)
        numbers = _number(residual_step)
        rest = inverse - patches.render(regions, coefficients, header.limits, labels.shape)
        rest[missing] = 0
        steps = (rest + (residual_step >> 1)) // residual_step
        coded["residuals"] = residuals.encode(labels, steps)
    if flags & _HOLES:
        coded["holes"] = holes.encode(missing)
    parts, bits = zip(*coded.values(), strict=True)
    numbers += b"".join(_number(len(part)) for part in parts)
    body = _HEADER.pack(*header) + numbers + b"".join(parts)
    sizes = {"residuals": 0, "holes": 0} | dict(zip(coded, map(len, parts), strict=True))
    return Parts(body + _CHECKSUM.pack(zlib.crc32(body)), **sizes, ideal_bits=sum(bits))


def measured_rmse_per_m(depth_mm: np.ndarray, labels: np.ndarray, *, trade: float) -> float:
    """Computes the RMSE of inverse depth that `encode` would leave without residuals.

    Arguments are those of `encode`. Pixels without a reading don't count.
    """
    labels, step = frontier_classes.split_connected(labels), _step_of(trade)
    filled_mm, missing = fill.fill_nearest(depth_mm)
    regions = region_shapes.describe(labels, step)
    _, coefficients = patches.fit(regions, patches.inverse_depth(filled_mm), ~missing, step)
    limits = patches.NEAREST // int(filled_mm.max()), patches.NEAREST // int(filled_mm.min())
    decoded_mm = patches.depth_mm(patches.render(regions, coefficients, limits, labels.shape))
    error = MM_PER_M / decoded_mm[~missing] - MM_PER_M / depth_mm[~missing]
    return float(np.sqrt(np.mean(error**2)))


def decode(data: bytes, *, edge_logits: EdgeLogits | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a depth image.

    Args:
        data: what `encode` returned.
        edge_logits: the side information that it was encoded with, if any.

    Returns:
        `[H, W]` uint16 millimetres, 0 where there was no reading; and `[H, W]` int32 labels,
        contiguous from 0, every region 4-connected.

    Raises:
        ValueError: if the stream is damaged, truncated or of another kind, or the side information
            is missing or superfluous.
    """
    header, lengths, body = _opened(data)
    flags, size = header.flags, (header.height, header.width)
    if bool(flags & _SIDE) != (edge_logits is not None):
        raise ValueError(
            "this stream needs the edge logits it was encoded with"
            if flags & _SIDE
            else "this stream was encoded without edge logits; decode it without them"
        )
    residual_step = lengths.pop(0) if flags & _RESIDUALS else 0
    if sum(lengths) != len(body):
        raise ValueError(f"expected {sum(lengths)} bytes of parts, got {len(body)}")
    parts, at = [], 0
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    labels = contours.decode(parts[0], size, edge_logits)
    regions = region_shapes.describe(labels, header.step)
    coefficients = patches.decode(parts[1], regions, header.start)
    inverse = patches.render(regions, coefficients, header.limits, size)
    if flags & _RESIDUALS:
        most = patches.NEAREST // residual_step + 1
        steps = np.clip(residuals.decode(parts[2], labels), -most, most)
        inverse = np.clip(inverse + steps * residual_step, 1, patches.NEAREST)
    depth_mm = patches.depth_mm(inverse)
    if flags & _HOLES:
        depth_mm[holes.decode(parts[-1], size)] = 0
    return depth_mm, labels


def _opened(data: bytes) -> tuple[_Header, list[int], bytes]:
    """Checks the outside of a stream; returns its header, numbers and parts."""
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise ValueError(f"{len(data)} bytes are too few for a coded depth image")
    header = _Header(*_HEADER.unpack_from(data))
    if header.magic != MAGIC:
        raise ValueError(
            f"expected a coded depth image, which begins with {MAGIC!r}, got {header.magic!r}"
        )
    if header.version != VERSION:
        raise ValueError(f"expected version {VERSION} of coded depth images, got {header.version}")
    body, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if _CHECKSUM.unpack(checksum)[0] != zlib.crc32(body):
        raise ValueError("the checksum is wrong: the stream is damaged or truncated")
    if header.flags & _OLD_SIDE:
        raise ValueError("side information of psp_jax 0.1: decode this stream with that version")
    if not 0 < header.height * header.width <= MAX_PIXELS:
        raise ValueError(
            f"expected 1 to {MAX_PIXELS} pixels, got {header.height}x{header.width} pixels"
        )
    if (
        not 0 < header.least_mm <= header.most_mm
        or header.flags > (_HOLES | _RESIDUALS | _SIDE)
        or not _STEPS[0] <= header.step <= _STEPS[1]
    ):
        raise ValueError("the header contradicts itself: the stream is damaged")
    numbers, at = [], _HEADER.size
    for _ in range(2 + bool(header.flags & _HOLES) + 2 * bool(header.flags & _RESIDUALS)):
        value, at = _read_number(body, at)
        numbers.append(value)
    if header.flags & _RESIDUALS and not 0 < numbers[0] <= patches.NEAREST:
        raise ValueError("the step of the residuals is out of range: the stream is damaged")
    return header, numbers, body[at:]


def _check_images(depth_mm: np.ndarray, labels: np.ndarray) -> None:
    if depth_mm.ndim != 2 or depth_mm.dtype != np.uint16:
        raise ValueError(f"expected depth as [H, W] uint16, got {depth_mm.shape} {depth_mm.dtype}")
    if labels.shape != depth_mm.shape or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"expected labels as integers of {depth_mm.shape} like the depth image, got "
            f"{labels.shape} {labels.dtype}"
        )
    if not 0 < depth_mm.size <= MAX_PIXELS or max(depth_mm.shape) > MAX_SIDE_PX:
        raise ValueError(
            f"expected 1 to {MAX_PIXELS} pixels and sides up to {MAX_SIDE_PX}, got an image of "
            f"{depth_mm.shape}"
        )


def _step_of(trade: float) -> int:
    """Logarithm to base 2 of the squared step at which a bit saves as much error as it may."""
    if not 0 < trade < math.inf:
        raise ValueError(f"expected a positive trade, got {trade}")
    step = round(math.log2(trade / patches.TRADE_PER_SQUARED_STEP))
    return min(max(step, _STEPS[0]), _STEPS[1])


def _residual_step(max_error_per_m: float) -> int:
    if not 0 < max_error_per_m < math.inf:
        raise ValueError(f"expected a positive max_error_per_m, got {max_error_per_m}")
    return min(max(int(2 * max_error_per_m * patches.UNITS_PER_M), 1), patches.NEAREST)


def _number(value: int) -> bytes:
    """Writes an integer in base 128, the last digit with its high bit clear."""
    digits = bytearray()
    while value >= 128:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for digit in range(_MAX_DIGITS):
        if at + digit >= len(data):
            break
        value |= (data[at + digit] & 127) << (7 * digit)
        if data[at + digit] < 128:
            return value, at + digit + 1
    raise ValueError("a length without an end: the stream is damaged")
