"""Matches colour files with depth files by their names: by stem, time stamp or number."""

import pathlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_GAP_S = 0.02  # Between the stamps of a pair, as in associate.py of TUM RGB-D.
_DEPTH_WORD = re.compile(r"(?<![a-z])depths?(?:[-_]?(?:image|map|raw|frame))?s?(?![a-z])")
_COLOR_WORD = re.compile(
    r"(?<![a-z])(?:rgb|colou?r|image|img|photo|frame)(?:[-_]?(?:image|frame))?s?(?![a-z])"
)
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)", re.ASCII)
_SEPARATORS = re.compile(r"[^\w.]+|_+")
_NUMBER = re.compile(r"\d+", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}\.\d+", re.ASCII)
# Units per second of stamps that are integers, by their digits, since 2001.
_STAMP_UNITS = {13: 1e3, 16: 1e6, 19: 1e9}


def has_depth_word(path: pathlib.Path) -> bool:
    """Returns whether a name has a word such as `depth`."""
    return _DEPTH_WORD.search(path.stem.lower()) is not None


def key_of(path: pathlib.Path) -> str:
    """Returns the stem without words for colour and depth, separators and leading zeros."""
    stem = _DEPTH_WORD.sub("", path.stem.lower())
    stem = _COLOR_WORD.sub("", stem)
    return _LEADING_ZEROS.sub("", _SEPARATORS.sub("-", stem).strip("-.")) or path.stem.lower()


def match(
    colors: Sequence[pathlib.Path], depths: Sequence[pathlib.Path]
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Returns pairs of a colour file and a depth file, in the order of `depths`.

    The first rule is used that matches at least half of the shorter list: equal stems, without
    words such as `rgb` and leading zeros; nearest time stamps; equal last numbers, if those are
    unique.
    """
    fewer = min(len(colors), len(depths))
    for rule in (_by_key, _by_stamp, _by_number):
        pairs = rule(colors, depths)
        if pairs and 2 * len(pairs) >= fewer:
            return [(colors[i], depths[j]) for i, j in sorted(pairs, key=lambda pair: pair[1])]
    return []


def by_time(first_s: Sequence[float], second_s: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs time stamps, the nearest first, each once and at most `MAX_GAP_S` apart.

    Returns:
        Pairs of indices, in the order of the second.
    """
    if not first_s or not second_s:
        return []
    order = np.argsort(first_s)
    times = np.asarray(first_s, np.float64)[order]
    right = np.searchsorted(times, second_s)
    candidates = [
        (abs(times[i] - second_s[j]), int(order[i]), j)
        for j, position in enumerate(right)
        for i in range(max(position - 2, 0), min(position + 2, len(times)))
    ]
    taken_first, pairs = set(), {}
    for gap_s, i, j in sorted(candidates):
        if gap_s <= MAX_GAP_S and i not in taken_first and j not in pairs:
            taken_first.add(i)
            pairs[j] = i
    return [(pairs[j], j) for j in sorted(pairs)]


def seconds_of(path: pathlib.Path) -> float | None:
    """Reads a time stamp from a name: seconds with a fraction, or a whole number since 1970."""
    stem = path.stem
    if _SECONDS.fullmatch(stem):
        return float(stem)
    if stem.isdecimal() and len(stem) in _STAMP_UNITS:
        return int(stem) / _STAMP_UNITS[len(stem)]
    return None


def _by_key(
    colors: Sequence[pathlib.Path], depths: Sequence[pathlib.Path]
) -> list[tuple[int, int]]:
    positions = {key_of(path): i for i, path in reversed(list(enumerate(colors)))}
    pairs = {}
    for j, path in enumerate(depths):
        if (i := positions.get(key_of(path))) is not None:
            pairs.setdefault(i, j)
    return list(pairs.items())


def _by_stamp(
    colors: Sequence[pathlib.Path], depths: Sequence[pathlib.Path]
) -> list[tuple[int, int]]:
    stamps = [[seconds_of(path) for path in paths] for paths in (colors, depths)]
    if any(stamp is None for side in stamps for stamp in side):
        return []
    return by_time(*[[stamp for stamp in side if stamp is not None] for side in stamps])


def _by_number(
    colors: Sequence[pathlib.Path], depths: Sequence[pathlib.Path]
) -> list[tuple[int, int]]:
    sides = []
    for paths in (colors, depths):
        numbers = [int(found[-1]) for p in paths if (found := _NUMBER.findall(p.stem[-40:]))]
        if len(numbers) < len(paths) or max(Counter(numbers).values(), default=0) > 1:
            return []
        sides.append({number: index for index, number in enumerate(numbers)})
    return [(sides[0][number], sides[1][number]) for number in sides[0].keys() & sides[1].keys()]
