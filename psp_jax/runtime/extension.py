"""Decides which fields of a config may change between the sessions of a run."""

import itertools
import pathlib
import re
from typing import NamedTuple

from psp_jax import experiment, phases
from psp_jax.experiment import Experiment

_FIELD_OF_PHASE = re.compile(r"phases\.(\d+)\.?(.*)")


class Changes(NamedTuple):
    """Fields, `name: there -> here`, in which an experiment differs from that of its workdir.

    Attributes:
        refused: those that alter what was already trained.
        allowed: those that alter only what comes next.
    """

    refused: list[str]
    allowed: list[str]


def changes(config: Experiment, workdir: pathlib.Path, step: int) -> Changes:
    """Compares an experiment with that of a workdir which was trained for `step` steps.

    Phases that have not begun may change, be added and be removed. The number of steps of the phase
    that was trained last may change, to no less than were taken. Nothing is refused before the
    first step.

    Raises:
        ValueError: if the config of the workdir is damaged.
    """
    differences = experiment.differences(config, workdir)
    if not differences:
        return Changes([], [])
    if not step:
        return Changes([], differences)
    starts = [span.start for span in phases.spans(experiment.load(workdir))]
    last = max(index for index, start in enumerate(starts) if start < step)
    lasts = list(itertools.accumulate(phase.steps for phase in config.phases))
    suffices = len(lasts) > last and lasts[last] >= step

    def is_allowed(difference: str) -> bool:
        match = _FIELD_OF_PHASE.match(difference.partition(":")[0])
        if not match:
            return False
        index, field = int(match[1]), match[2]
        return index > last or (index == last and field == "steps" and suffices)

    allowed = [each for each in differences if is_allowed(each)]
    return Changes([each for each in differences if each not in allowed], allowed)
