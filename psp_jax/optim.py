"""Optimizers and learning rate schedules: the optax transformation of a phase."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from psp_jax.experiment import ConfigError, Optimizer, Phase, Schedule
from psp_jax.models import parts


def check(name: str, phase: Phase, known: Sequence[str]) -> None:
    """Raises ConfigError if `lr_multipliers` names a part that does not exist or is not trained.

    Args:
        name: the name of the phase in the config, such as `phases[0]`.
        phase: the phase to check.
        known: the parts of the model.
    """
    field = f"config.{name}.lr_multipliers"
    for part in phase.lr_multipliers:
        if part not in known:
            close = difflib.get_close_matches(part, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(known)}"
            raise ConfigError(f"{field}: {part!r} is no part of the model; {hint}")
        if not parts.covers(phase.train, part) and not parts.inside(phase.train, part):
            raise ConfigError(f"{field}: {part!r} is not trained by the phase; train={phase.train}")


def make(phase: Phase) -> optax.GradientTransformation:
    """Makes the optimizer of a phase, with clipping of the global gradient norm.

    Initialise it with the trained parameters only: frozen parameters then have no moments, and do
    not count in the norm.
    """
    # Checkpoints hold this structure: options that are off must not add to it.
    chain = [optax.clip_by_global_norm(phase.clip_norm), *_optimizer(phase)]
    if phase.lr_multipliers:
        chain.append(_scale_by_part(phase.lr_multipliers))
    return optax.chain(*chain)


def learning_rate(phase: Phase, step: int) -> float:
    """Returns the learning rate of a step; the first step of the phase is 0."""
    return np.asarray(schedule(phase)(step)).item()


def steps_taken(opt_state: optax.OptState) -> jax.Array:
    """Returns the `[]` int32 number of steps of an optimizer of `make`, without skipped steps."""

    def of_schedule(path: Sequence[Any], value: Any) -> bool:
        del value
        return getattr(path[-1], "tuple_name", "") == "ScaleByScheduleState"

    return optax.tree.get(opt_state, "count", filtering=of_schedule)


def schedule(phase: Phase) -> optax.Schedule:
    """Makes the learning rate as a function of the step: linear warm-up, then `phase.schedule`."""
    steps, final = phase.steps - phase.warmup_steps, phase.final_lr_fraction * phase.learning_rate
    match Schedule(phase.schedule):
        case Schedule.COSINE:
            decay = optax.cosine_decay_schedule(
                phase.learning_rate, steps, alpha=phase.final_lr_fraction
            )
        case Schedule.POLY:
            decay = optax.polynomial_schedule(phase.learning_rate, final, phase.power, steps)
        case Schedule.CONSTANT:
            decay = optax.constant_schedule(phase.learning_rate)
    if not phase.warmup_steps:
        return decay
    first = phase.learning_rate / phase.warmup_steps
    warmup = optax.linear_schedule(first, phase.learning_rate, phase.warmup_steps)
    return optax.join_schedules([warmup, decay], [phase.warmup_steps])


def _optimizer(phase: Phase) -> list[optax.GradientTransformation]:
    decay = phase.weight_decay
    match Optimizer(phase.optimizer):
        case Optimizer.ADAM if decay:
            return [optax.adamw(schedule(phase), weight_decay=decay, mask=_kernels)]
        case Optimizer.ADAM:
            return [optax.adam(schedule(phase))]
        case Optimizer.SGD:
            sgd = optax.sgd(schedule(phase), momentum=phase.momentum or None)
            return [optax.add_decayed_weights(decay, mask=_kernels), sgd] if decay else [sgd]


def _kernels(params: Any) -> Any:
    """Marks kernels, which have several axes, unlike biases and the values of batch norms."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _scale_by_part(multipliers: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies updates, which are linear in the learning rate, by those of their parts."""

    def multiplier(path: Sequence[Any]) -> float:
        name = "/".join(key.key for key in path)
        matching = [part for part in multipliers if parts.covers((part,), name)]
        return multipliers[max(matching, key=len)] if matching else 1.0

    def scale(updates: Any, params: Any) -> Any:
        del params
        return jax.tree_util.tree_map_with_path(
            lambda path, update: update * multiplier(path), updates
        )

    return optax.stateless(scale)
