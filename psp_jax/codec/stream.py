"""The container: a depth image as regions in one string of bytes, checked before it is believed.

Little endian: magic, version, flags, height, width, least and most depth in millimetres, the
step; then, by the flags, the step of the residuals; the lengths of all parts as base-128 numbers;
the parts (partition, patches, residuals, holes); and a CRC-32 of everything before it.
"""

import dataclasses
import math
import struct
import zlib

import numpy as np

from psp_jax.codec import contours, holes, patches, residuals
from psp_jax.codec.patches import MM_PER_M, ONE_PER_M
from psp_jax.partition import fill, frontier_classes

MAGIC = b"PD"
VERSION = 1
# 8.4 megapixels, more than any depth sensor has: the most that a few hostile bytes can claim, which
# costs seconds and 0.5 GB.
MAX_PIXELS = 1 << 23
MAX_SIDE_PX = 65535
DEFAULT_TRADE = 1e-3
_HOLES, _RESIDUALS, _SIDE = 1, 2, 4  # Flags.
_HEAD = struct.Struct("<2sBBHHHHb")
_CHECK = struct.Struct("<I")
_STEPS = (-56, 24)  # Of the logarithm to base 2 of the squared step.
_MAX_DIGITS = 9  # Of a base-128 number.

EdgeLogits = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Parts:
    """A coded frame in parts.

    Attributes:
        stream: the whole of it.
        partition, patches, residuals, holes: bytes of each part; what is left is header and sum.
        ideal_bits: what the models make of the four parts, without coder, header and sum.
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
        edge_logits: side information, as of `contours.partition_bits`; decoding needs it too.

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
    """Codes as `encode` does and tells what each part costs."""
    _check_images(depth_mm, labels)
    labels = frontier_classes.split_connected(labels)
    step = _step_of(trade)
    filled_mm, missing = fill.fill_nearest(depth_mm)
    inverse = patches.inverse_depth(filled_mm)
    least_mm, most_mm = int(filled_mm.min()), int(filled_mm.max())
    flags = 0
    partition, bits = contours.encode(labels, edge_logits)
    if edge_logits is not None:
        flags |= _SIDE
    orders, coefficients = patches.fit(labels, inverse, ~missing, step)
    start = _start(least_mm, most_mm)
    patch, patch_bits = patches.encode(labels, orders, coefficients, step, start)
    parts, lengths, bits = [partition, patch], b"", bits + patch_bits
    if max_error_per_m is not None:
        flags |= _RESIDUALS
        width = _residual_step(max_error_per_m)
        lengths += _number(width)
        rest = inverse - _rendered(labels, coefficients, step, least_mm, most_mm)
        rest[missing] = 0
        coded, residual_bits = residuals.encode(labels, (rest + (width >> 1)) // width)
        parts.append(coded)
        bits += residual_bits
    if missing.any():
        flags |= _HOLES
        coded, hole_bits = holes.encode(missing)
        parts.append(coded)
        bits += hole_bits
    lengths += b"".join(_number(len(part)) for part in parts)
    height, width = depth_mm.shape
    head = _HEAD.pack(MAGIC, VERSION, flags, height, width, least_mm, most_mm, step)
    body = head + lengths + b"".join(parts)
    sizes = iter([len(part) for part in parts[2:]])
    return Parts(
        stream=body + _CHECK.pack(zlib.crc32(body)),
        partition=len(partition),
        patches=len(patch),
        residuals=next(sizes) if flags & _RESIDUALS else 0,
        holes=next(sizes) if flags & _HOLES else 0,
        ideal_bits=bits,
    )


def encode_within(
    depth_mm: np.ndarray,
    labels: np.ndarray,
    *,
    rmse_per_m: float,
    edge_logits: EdgeLogits | None = None,
) -> bytes:
    """Codes with the coarsest steps that keep the error of a frame within a bound.

    Args:
        depth_mm: as of `encode`.
        labels: as of `encode`.
        edge_logits: as of `encode`.
        rmse_per_m: root of the mean squared error of inverse depth over pixels with a reading,
            after decoding to whole millimetres.

    Raises:
        ValueError: as `encode` does, or if no patches on this partition come that close.
    """
    _check_images(depth_mm, labels)
    if not rmse_per_m > 0:
        raise ValueError(f"rmse_per_m is {rmse_per_m}; more than 0 was expected")
    low, high = _STEPS
    if measured_rmse_per_m(depth_mm, labels, trade=_trade_of(low)) > rmse_per_m:
        raise ValueError(
            f"an RMSE of {rmse_per_m} per metre is out of reach of patches on "
            f"{int(labels.max()) + 1} regions; take more regions, or max_error_per_m for residuals"
        )
    while high - low > 1:
        middle = (low + high) // 2
        if measured_rmse_per_m(depth_mm, labels, trade=_trade_of(middle)) <= rmse_per_m:
            low = middle
        else:
            high = middle
    return encode(depth_mm, labels, trade=_trade_of(low), edge_logits=edge_logits)


def measured_rmse_per_m(depth_mm: np.ndarray, labels: np.ndarray, *, trade: float) -> float:
    """Computes the error that `encode` would leave, without residuals; arguments as of it."""
    labels, step = frontier_classes.split_connected(labels), _step_of(trade)
    filled_mm, missing = fill.fill_nearest(depth_mm)
    _, coefficients = patches.fit(labels, patches.inverse_depth(filled_mm), ~missing, step)
    limits = int(filled_mm.min()), int(filled_mm.max())
    found_mm = patches.depth_mm(_rendered(labels, coefficients, step, *limits))
    error = MM_PER_M / found_mm[~missing] - MM_PER_M / depth_mm[~missing]
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
        ValueError: if the stream is damaged, cut off or of another kind, or the side information
            is missing or not wanted.
    """
    head, lengths, body = _opened(data)
    _, _, flags, height, width, least_mm, most_mm, step = head
    if bool(flags & _SIDE) != (edge_logits is not None):
        wanted = "needs the edge logits it" if flags & _SIDE else "has no edge logits that it"
        raise ValueError(f"this stream {wanted} was encoded with")
    residual_step = lengths.pop(0) if flags & _RESIDUALS else 0
    parts, at = [], 0
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    if at != len(body):
        raise ValueError(f"{at} bytes of parts were announced, {len(body)} follow")
    labels = contours.decode(parts.pop(0), (height, width), edge_logits)
    start = _start(least_mm, most_mm)
    _, coefficients = patches.decode(parts.pop(0), labels, step, start)
    inverse = _rendered(labels, coefficients, step, least_mm, most_mm)
    if flags & _RESIDUALS:
        steps = residuals.decode(parts.pop(0), labels)
        most = _start(1, 1) // residual_step + 1
        inverse = inverse + np.clip(steps, -most, most) * residual_step
        inverse = np.clip(inverse, 1, _start(1, 1))
    depth_mm = patches.depth_mm(inverse)
    if flags & _HOLES:
        depth_mm[holes.decode(parts.pop(0), (height, width))] = 0
    return depth_mm, labels


def _opened(data: bytes) -> tuple[tuple, list[int], bytes]:
    """Checks the outside of a stream; returns its header, numbers and parts."""
    if len(data) < _HEAD.size + _CHECK.size:
        raise ValueError(f"{len(data)} bytes are no coded depth image")
    head = _HEAD.unpack_from(data)
    magic, version, flags, height, width, least_mm, most_mm, step = head
    if magic != MAGIC:
        raise ValueError(f"this begins with {magic!r}, a coded depth image with {MAGIC!r}")
    if version != VERSION:
        raise ValueError(f"version {version} of coded depth images is not known, {VERSION} is")
    body, check = data[: -_CHECK.size], data[-_CHECK.size :]
    if _CHECK.unpack(check)[0] != zlib.crc32(body):
        raise ValueError("the check sum is wrong: the stream is damaged or cut off")
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"{height}x{width} pixels; 1 to {MAX_PIXELS} are believed")
    if not 0 < least_mm <= most_mm or flags > 7 or not _STEPS[0] <= step <= _STEPS[1]:
        raise ValueError("a header that contradicts itself: the stream is damaged")
    count = 2 + bool(flags & _HOLES) + 2 * bool(flags & _RESIDUALS)
    numbers, at = [], _HEAD.size
    for _ in range(count):
        value, at = _read_number(body, at)
        numbers.append(value)
    if flags & _RESIDUALS and not 0 < numbers[0] <= _start(1, 1):
        raise ValueError("residuals without a step: the stream is damaged")
    return head, numbers, body[at:]


def _check_images(depth_mm: np.ndarray, labels: np.ndarray) -> None:
    if depth_mm.ndim != 2 or depth_mm.dtype != np.uint16:
        raise ValueError(f"[H, W] uint16 was expected, not {depth_mm.shape} {depth_mm.dtype}")
    if labels.shape != depth_mm.shape or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels of {labels.shape} {labels.dtype} for a depth image of {depth_mm.shape}; "
            "integers of the same size were expected"
        )
    if not 0 < depth_mm.size <= MAX_PIXELS or max(depth_mm.shape) > MAX_SIDE_PX:
        raise ValueError(
            f"an image of {depth_mm.shape}; 1 to {MAX_PIXELS} pixels and sides up to "
            f"{MAX_SIDE_PX} can be coded"
        )


def _step_of(trade: float) -> int:
    """Logarithm to base 2 of the squared step at which a bit saves as much error as it may."""
    if not 0 < trade < math.inf:
        raise ValueError(f"trade is {trade}; more than 0 was expected")
    step = round(math.log2(trade / patches.TRADE_PER_SQUARED_STEP))
    return min(max(step, _STEPS[0]), _STEPS[1])


def _trade_of(step: int) -> float:
    return patches.TRADE_PER_SQUARED_STEP * 2.0**step


def _residual_step(max_error_per_m: float) -> int:
    if not 0 < max_error_per_m < math.inf:
        raise ValueError(f"max_error_per_m is {max_error_per_m}; more than 0 was expected")
    return min(max(int(2 * max_error_per_m * ONE_PER_M), 1), _start(1, 1))


def _start(least_mm: int, most_mm: int) -> int:
    """The middle of the range of inverse depth."""
    return (MM_PER_M * ONE_PER_M // least_mm + MM_PER_M * ONE_PER_M // most_mm) // 2


def _rendered(
    labels: np.ndarray, coefficients: np.ndarray, step: int, least_mm: int, most_mm: int
) -> np.ndarray:
    nearest, farthest = (MM_PER_M * ONE_PER_M // mm for mm in (least_mm, most_mm))
    return patches.render(labels, coefficients, step, farthest, nearest)


def _number(value: int) -> bytes:
    """Writes a whole number in base 128, the last digit with its high bit clear."""
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
