"""The result of recognising a layout, and a check of the units of its depth."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence

from psp_jax.recordings import depth_units
from psp_jax.recordings.depth_units import Choice
from psp_jax.recordings.recording import Damaged, Recording

MEASURED = 20  # So many recordings of a layout have the units of their depth checked.
_STRIDE = 10  # Between the frames that are measured, the first ones of a recording.


@dataclasses.dataclass(frozen=True)
class Recognised:
    """The recordings of one folder, in a layout that recognised it.

    Attributes:
        recordings: at least one.
        choices: the units of depth, where a test chose or checked them.
        unpaired: numbers of colour and of depth files that belong to no file of the other kind.
        refused: by path, why a folder among several is not read.
    """

    recordings: Sequence[Recording]
    choices: Sequence[Choice] = ()
    unpaired: tuple[int, int] = (0, 0)
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)


def measured(recognised: Recognised, limit: int, given: float | None) -> Recognised:
    """Checks the units of recordings by their first frames, unless a test chose them.

    Args:
        recognised: the recordings.
        limit: how many of them are checked; the others are taken as they are.
        given: units of depth per metre that the user stated, or None.

    Raises:
        Damaged: if all have an implausible depth, for the reason of the first.
    """
    if recognised.choices:
        return recognised
    kept, choices, refused = [], [], {}
    for scan in recognised.recordings[:limit]:
        try:
            frames = list(itertools.islice(scan.frames(_STRIDE), depth_units.SAMPLES))
            choice = depth_units.check(frames, is_given=given is not None)
        except depth_units.Implausible as error:
            refused[os.fspath(scan.path)] = str(error)
            continue
        except (Damaged, OSError):
            choice = None  # It is reported when the recording is used.
        kept.append(scan)
        choices += [choice] if choice else []
    kept += recognised.recordings[limit:]
    if not kept:
        raise Damaged(next(iter(refused.values())))
    refused |= recognised.refused
    return dataclasses.replace(recognised, recordings=kept, choices=choices, refused=refused)
