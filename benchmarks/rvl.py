"""Codes depth images without loss by RVL (Wilson 2017, Fast Lossless Depth Image Compression).

The image is read row by row as pairs of runs: pixels without a reading, then pixels with one. Both
lengths are written, then the difference of each reading from the one before it, wherever that was.
Signs are folded, so that 0, -1, 1, -2 ... become 0, 1, 2, 3 ... A number is written three bits at a
time, the lowest first, in groups of four bits whose highest bit states that another group follows.
"""

import numpy as np

GROUPS_PER_WORD = 8  # The paper writes whole words of 32 bits.


def encode(depth_mm: np.ndarray) -> bytes:
    """Codes `[H, W]` uint16 millimetres, 0 where there is no reading."""
    depth = depth_mm.ravel().astype(np.int64)
    known = depth > 0
    differences = np.diff(depth[known], prepend=0)
    folded = np.where(differences < 0, -2 * differences - 1, 2 * differences)
    borders = np.flatnonzero(np.diff(known, prepend=False, append=False))
    numbers, pixel, reading = [], 0, 0
    for start, stop in borders.reshape(-1, 2).tolist():
        count = stop - start
        numbers += [[start - pixel, count], folded[reading : reading + count]]
        pixel, reading = stop, reading + count
    if pixel < depth.size:
        numbers.append([depth.size - pixel, 0])
    return _write(np.concatenate(numbers))


def decode(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decodes what `encode` returned for an image of this (height, width)."""
    numbers, depth = _read(data), np.zeros(shape, np.uint16).ravel()
    at = pixel = last = 0
    while pixel < depth.size:
        missing, count = numbers[at : at + 2]
        folded = numbers[at + 2 : at + 2 + count]
        readings = last + np.cumsum((folded >> 1) ^ -(folded & 1))
        depth[pixel + missing : pixel + missing + count] = readings
        at, pixel = at + 2 + count, pixel + missing + count
        last = readings[-1] if count else last
    return depth.reshape(shape)


def _write(numbers: np.ndarray) -> bytes:
    groups = np.ones(len(numbers), np.int64)
    while (longer := numbers >> 3 * groups > 0).any():
        groups += longer
    first = np.cumsum(groups) - groups
    nibbles = np.zeros(-(-int(groups.sum()) // GROUPS_PER_WORD) * GROUPS_PER_WORD, np.uint8)
    for group in range(groups.max()):
        has = groups > group
        low = numbers[has] >> 3 * group & 7
        nibbles[first[has] + group] = low | (groups[has] > group + 1) << 3
    return (nibbles[::2] << 4 | nibbles[1::2]).tobytes()


def _read(data: bytes) -> np.ndarray:
    pairs = np.frombuffer(data, np.uint8)
    nibbles = np.stack([pairs >> 4, pairs & 15], axis=1).ravel().astype(np.int64)
    first = np.flatnonzero(np.append(0, nibbles[:-1]) < 8)  # After the last group of a number.
    group = np.arange(len(nibbles)) - np.repeat(first, np.diff(first, append=len(nibbles)))
    return np.add.reduceat((nibbles & 7) << 3 * group, first)
