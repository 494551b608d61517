"""Places of the phases among the steps and batches of a run."""

import dataclasses
import itertools

from psp_jax.experiment import Experiment, Phase


@dataclasses.dataclass(frozen=True)
class PhaseSpan:
    """A phase and its place among the optimizer steps of the run.

    Attributes:
        phase: what is trained and how.
        start: steps taken before it.
        last: number of its last step.
    """

    phase: Phase
    start: int
    last: int


def spans(experiment: Experiment) -> list[PhaseSpan]:
    """Returns the phases of a run in order, with their steps."""
    lasts = list(itertools.accumulate(phase.steps for phase in experiment.phases))
    return [
        PhaseSpan(p, last - p.steps, last) for p, last in zip(experiment.phases, lasts, strict=True)
    ]


def batches_taken(experiment: Experiment, steps: int) -> int:
    """Returns how many batches the first `steps` optimizer steps of a run take."""
    total = 0
    for phase in experiment.phases:
        total += min(steps, phase.steps) * phase.accumulate
        steps = max(steps - phase.steps, 0)
    return total
