"""Optimizers: a phase becomes an optax transformation of its trained parameters."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from psp_jax.experiment import ConfigError, Optimizer, Phase, Schedule
from psp_jax.models import parts


def check(name: str, phase: Phase, known: Sequence[str]) -> None:
    """Raises ConfigError unless every part with a factor is one of the model's and trained.

    Args:
        name: the phase's in the config, such as `phases[0]`.
        phase: what is checked.
        known: the parts of the model.
    """
    for part in phase.lr_multipliers:
        if part not in known:
            close = difflib.get_close_matches(part, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise ConfigError(
                f"config.{name}.lr_multipliers names {part!r}, which is no part of the model; {hint}"
            )
        if not parts.covers(phase.train, part) and not parts.inside(phase.train, part):
            raise ConfigError(
                f"config.{name}.lr_multipliers names {part!r}, nothing of which is in its train, "
                f"{phase.train}"
            )


def make(phase: Phase) -> optax.GradientTransformation:
    """Builds clipping and the optimizer for the parameters that the phase trains.

    It is initialised with the trained parameters alone: the frozen ones get neither moments nor
    gradients, and the clipped norm is that of the trained ones.
    """
    # Without factors and decay this is the chain that checkpoints of earlier versions hold.
    chain = [optax.clip_by_global_norm(phase.clip_norm), *_optimizer(phase)]
    if phase.lr_multipliers:
        chain.append(_scale_by_part(phase.lr_multipliers))
    return optax.chain(*chain)


def rate(phase: Phase, step: int) -> float:
    """Returns the learning rate of a step of the phase, counted from 0."""
    return np.asarray(schedule(phase)(step)).item()


def taken(opt_state: optax.OptState) -> jax.Array:
    """Returns the `[]` int32 steps that an optimizer of `make` has taken, as its schedule counts.

    Steps that were skipped are not among them.
    """
    return optax.tree.get(opt_state, "count", filtering=_of_schedule)


def _of_schedule(path: Sequence[Any], unused: Any) -> bool:
    return getattr(path[-1], "tuple_name", "") == "ScaleByScheduleState"


def schedule(phase: Phase) -> optax.Schedule:
    """Returns the learning rate by step: linear warm-up, then what the phase's schedule says."""
    steps, lowest = phase.steps - phase.warmup_steps, phase.final_lr_fraction * phase.learning_rate
    match Schedule(phase.schedule):
        case Schedule.COSINE:
            decay = optax.cosine_decay_schedule(
                phase.learning_rate, steps, alpha=phase.final_lr_fraction
            )
        case Schedule.POLY:
            decay = optax.polynomial_schedule(phase.learning_rate, lowest, phase.power, steps)
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
    """Marks what decays: kernels have several axes, biases and batch norms' values one."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _scale_by_part(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies updates, which is multiplying the learning rate: they are linear in it."""

    def scale(updates: Any, params: Any) -> Any:
        del params
        return jax.tree_util.tree_map_with_path(
            lambda path, update: update * _factor(factors, path), updates
        )

    return optax.stateless(scale)


def _factor(factors: Mapping[str, float], path: Sequence[Any]) -> float:
    name = "/".join(key.key for key in path)
    fitting = [part for part in factors if parts.covers((part,), name)]
    return factors[max(fitting, key=len)] if fitting else 1.0
