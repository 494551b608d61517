"""Optimizers: a phase becomes an optax transformation of its trained parameters."""

import numpy as np
import optax

from psp_jax import experiment


def make(phase: experiment.Phase) -> optax.GradientTransformation:
    """Builds clipping and Adam for the parameters that the phase trains.

    It is initialised with the trained parameters alone: the frozen ones get neither moments nor
    gradients, and the clipped norm is that of the trained ones.
    """
    return optax.chain(optax.clip_by_global_norm(phase.clip_norm), optax.adam(schedule(phase)))


def rate(phase: experiment.Phase, step: int) -> float:
    """Returns the learning rate of a step of the phase, counted from 0."""
    return np.asarray(schedule(phase)(step)).item()


def schedule(phase: experiment.Phase) -> optax.Schedule:
    """Returns the learning rate by step: linear warm-up, then a cosine to `final_share` of it."""
    decay = optax.cosine_decay_schedule(
        phase.learning_rate,
        phase.steps - phase.warmup_steps,
        alpha=phase.final_share,
    )
    if not phase.warmup_steps:
        return decay
    lowest = phase.learning_rate / phase.warmup_steps
    warmup = optax.linear_schedule(lowest, phase.learning_rate, phase.warmup_steps)
    return optax.join_schedules([warmup, decay], [phase.warmup_steps])
