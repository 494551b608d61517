"""Chooses the units of depth files whose layout states none, by a test that is reported."""

import pathlib
from collections.abc import Sequence

import numpy as np

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import depth_images, file_frames
from psp_jax.recordings.recording import Damaged

TUM = 5000.0  # Units per metre.
MIN_MEDIAN_M, MAX_MEDIAN_M = 0.3, 15.0
SAMPLES = 5


class Implausible(Damaged):
    """The median depth is out of range at the units that the test chooses."""


def choose(paths: Sequence[pathlib.Path]) -> tuple[float, str]:
    """Returns units per metre and a note with the median depth that they imply.

    Integers are millimetres, or TUM's 5000 per metre if every reading is a multiple of 5: TUM
    converted millimetres, and sensors that measure them hit multiples of 5 by chance only. Floats
    are metres, or millimetres if their median is above `MAX_MEDIAN_M`.

    Args:
        paths: depth files of one recording; up to `SAMPLES`, evenly spaced, are read.

    Raises:
        Implausible: if the median is outside `MIN_MEDIAN_M` to `MAX_MEDIAN_M` at the units that the
            test chooses.
        Damaged: if no file has a reading.
    """
    values = _readings(paths)
    median = float(np.median(values))
    if np.all(values == np.round(values)):
        both = (MM_PER_M, TUM)
        chosen = TUM if np.all(values % (TUM / MM_PER_M) == 0) else MM_PER_M
    else:
        both = (1.0, MM_PER_M)
        chosen = MM_PER_M if median > MAX_MEDIAN_M else 1.0
    text = " and ".join(f"{median / units:.2g} m at {units:g} per metre" for units in both)
    if not MIN_MEDIAN_M <= median / chosen <= MAX_MEDIAN_M:
        raise Implausible(
            f"the units of its depth are not known: its median would be {text}; expected "
            f"{MIN_MEDIAN_M:g} to {MAX_MEDIAN_M:g} m; pass --depth_scale=UNITS_PER_METRE"
        )
    return chosen, (
        f"depth is read at {chosen:g} units per metre: its median is {text}; "
        "--depth_scale=UNITS_PER_METRE overrides it"
    )


def _readings(paths: Sequence[pathlib.Path]) -> np.ndarray:
    indices = np.linspace(0, len(paths) - 1, min(len(paths), SAMPLES)).astype(int)
    parts, reason = [], ""
    for path in (paths[index] for index in indices):
        try:
            depth = depth_images.decode(file_frames.read_bytes(path))
        except (Damaged, OSError) as error:
            reason = reason or f"{path.name}: {error}"
            continue
        parts.append(depth[(depth > 0) & (depth < np.iinfo(np.uint16).max)])
    values = np.concatenate(parts) if parts else np.empty(0)
    if not values.size:
        raise Damaged(reason or f"none of {len(indices)} depth files has a reading")
    return values
