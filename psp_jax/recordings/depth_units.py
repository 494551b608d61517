"""Chooses the units of depth files whose layout states none, by a test that is reported."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from psp_jax.io import image_kinds
from psp_jax.io.units import MAX_DEPTH_MM, MM_PER_M
from psp_jax.recordings import depth_images, file_frames
from psp_jax.recordings.recording import Damaged, Frame

TUM = 5000.0  # Units per metre.
MIN_MEDIAN_M, MAX_MEDIAN_M = 0.3, 15.0
SAMPLES = 5
_HEAD_BYTES = 256


@dataclasses.dataclass(frozen=True)
class Choice:
    """The units that the test chose for a recording.

    Attributes:
        units_per_m: units of depth per metre.
        other_per_m: the units that it did not choose.
        median: median of the readings, in units.
    """

    units_per_m: float
    other_per_m: float
    median: float


class Implausible(Damaged):
    """The median depth is out of range at the units that the test chooses."""


def choose(paths: Sequence[pathlib.Path]) -> Choice:
    """Chooses the units of the depth files of a recording.

    Integers are millimetres, or TUM's 5000 per metre if most readings are multiples of 5: TUM
    converted millimetres, and of readings in millimetres themselves a fifth are. Floats are metres,
    or millimetres if their median is above `MAX_MEDIAN_M`. PNGs of these programs state theirs.

    Args:
        paths: depth files of one recording; up to `SAMPLES`, evenly spaced, are read.

    Raises:
        Implausible: if the median is outside `MIN_MEDIAN_M` to `MAX_MEDIAN_M` at the units that the
            test chooses.
        Damaged: if no file has a reading.
    """
    values = _readings(paths)
    if all(map(_states_millimetres, paths)):
        return Choice(MM_PER_M, TUM, float(np.median(values)))
    if np.all(values == np.round(values)):
        is_second = np.mean(values % (TUM / MM_PER_M) == 0) > 0.5
        both = (MM_PER_M, TUM)
    else:
        is_second = np.median(values) > MAX_MEDIAN_M
        both = (1.0, MM_PER_M)
    units, other = reversed(both) if is_second else both
    return _plausible(Choice(units, other, float(np.median(values))))


def measure(paths: Sequence[pathlib.Path], units_per_m: float, *, is_given: bool = False) -> Choice:
    """Does the same for units that the layout states, or the user; see `check`."""
    return _stated(_readings(paths), units_per_m, is_given)


def check(frames: Sequence[Frame], *, is_given: bool) -> Choice | None:
    """Measures the depth of a recording whose layout, or whose user, states the units.

    Args:
        frames: some of its frames.
        is_given: whether the user stated them: then any median that can be stored is right.

    Returns:
        The stated units, and others that are plausible; None if no frame has a reading.

    Raises:
        Implausible: if the median is out of range at the stated units.
    """
    parts = []
    for frame in frames:
        with contextlib.suppress(Damaged, OSError):  # It is reported when the frame is used.
            depth = frame.read_values()
            parts.append(depth[depth > 0])
    values = np.concatenate(parts) if parts else np.empty(0)
    if not values.size:
        return None
    return _stated(values, frames[0].units_per_m, is_given)


def lines_of(choices: Iterable[Choice]) -> list[str]:
    """Returns a line for each choice of units, with the range of median depths at both."""
    medians: dict[tuple[float, float], list[float]] = {}
    for choice in choices:
        key = choice.units_per_m, choice.other_per_m
        medians.setdefault(key, []).append(choice.median)
    return [
        f"depth read at {units:g} units per metre: median {_range(found, units)} "
        f"({_range(found, other)} at {other:g}), {len(found)} of the recordings; "
        "--depth_scale=UNITS_PER_METRE overrides it"
        for (units, other), found in medians.items()
    ]


def _stated(values: np.ndarray, units_per_m: float, is_given: bool) -> Choice:
    median = float(np.median(values))
    others = [each for each in (MM_PER_M, TUM, 1.0) if each != units_per_m]
    other = next((each for each in others if _is_plausible(median / each)), others[0])
    choice = Choice(units_per_m, other, median)
    if is_given and median / units_per_m <= MAX_DEPTH_MM / MM_PER_M:
        return choice
    return _plausible(choice)


def _plausible(choice: Choice) -> Choice:
    units, other, median = choice.units_per_m, choice.other_per_m, choice.median
    if not _is_plausible(median / units):
        raise Implausible(
            f"its median depth would be {median / units:.3g} m at {units:g} per metre and "
            f"{median / other:.3g} m at {other:g}; expected {MIN_MEDIAN_M:g} to {MAX_MEDIAN_M:g} "
            "m; pass --depth_scale=UNITS_PER_METRE"
        )
    return choice


def _is_plausible(median_m: float) -> bool:
    return MIN_MEDIAN_M <= median_m <= MAX_MEDIAN_M


def _states_millimetres(path: pathlib.Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return image_kinds.held_by(file.read(_HEAD_BYTES)) == image_kinds.DEPTH
    return False


def _range(medians: list[float], units_per_m: float) -> str:
    low, high = (f"{value / units_per_m:.2g}" for value in (min(medians), max(medians)))
    return f"{low} m" if low == high else f"{low} to {high} m"


def _readings(paths: Sequence[pathlib.Path]) -> np.ndarray:
    indices = np.linspace(0, len(paths) - 1, min(len(paths), SAMPLES)).astype(int)
    parts, reason = [], ""
    for path in (paths[index] for index in indices):
        try:
            depth = depth_images.decode(file_frames.read_bytes(path))
        except OSError as error:
            reason = reason or f"{path.name}: {error.strerror}"
            continue
        except Damaged as error:
            reason = reason or f"{path.name}: {error}"
            continue
        depth = depth_images.without_largest(depth)
        parts.append(depth[depth > 0])
    values = np.concatenate(parts) if parts else np.empty(0)
    if not values.size:
        raise Damaged(reason or f"none of {len(indices)} depth files has a reading")
    return values
