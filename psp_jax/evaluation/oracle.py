"""Scores an oracle: outputs of the network's size, fitted to the truth without a network.

A PSPNet's outputs have 1/8 of the image's size, and frontiers are one pixel wide. The oracle fits
such outputs to the truth of each image with the loss of the run. It is an upper bound for every
network with outputs of that size.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from psp_jax import objectives, steps
from psp_jax.batch import Batch
from psp_jax.evaluation import scoring
from psp_jax.experiment import Experiment
from psp_jax.state import Variables

IMAGES = 16  # Evenly spaced; every one takes a fit.
# The losses are convex in their logits, so a large rate that falls to 0 reaches the minimum: four
# times the steps at a third of the rate lower a softmax's by 0.001 of 0.87 nats on the rooms.
STEPS = 150
LEARNING_RATE = 10.0


def measure(
    experiment: Experiment, model: Any, variables: Variables, images: Sequence[Batch]
) -> dict[str, Any] | None:
    """Fits outputs to images, a batch of the experiment at a time.

    Args:
        experiment: knows the objective and the batch size.
        model: its network, whose output size is used.
        variables: of the network.
        images: examples without the batch axis.

    Returns:
        `images`, their number; `grid`, height and width of the outputs; and the metrics of classes
        and edges. None if the outputs are as large as the labels.
    """
    size, grid, scores = experiment.data.batch_size, (0, 0), scoring.Scores()
    objective = experiment.objective
    predict = functools.partial(steps.predict, model=model, objective=objective)
    fit = jax.jit(
        functools.partial(_fit, objective=objective, max_depth_m=experiment.data.max_depth_m)
    )
    for start in range(0, len(images), size):
        rows = list(images[start : start + size])
        rows += [jax.tree.map(np.zeros_like, rows[0])] * (size - len(rows))
        batch = jax.tree.map(lambda *arrays: np.stack(arrays), *rows)
        output, _ = jax.eval_shape(predict, variables, batch)
        grid = output.shape[1:3]
        if grid == batch.size:
            return None
        scores.add(fit(jnp.zeros(output.shape, output.dtype), batch))
    return {**scores.metrics(), "grid": list(grid)}


def _fit(
    output: jax.Array, batch: Batch, *, objective: objectives.Objective, max_depth_m: float
) -> steps.BatchScores:
    """Fits outputs to a batch, from `output` on, and scores their classes and edges."""
    tx = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS))

    def step(_, carried):
        output, state = carried
        gradient = jax.grad(lambda output: objective.loss(output, batch).value())(output)
        updates, state = tx.update(gradient, state)
        return optax.apply_updates(output, updates), state

    output, _ = jax.lax.fori_loop(0, STEPS, step, (output, tx.init(output)))
    prediction = objective.predict(output, batch.size)
    prediction = dataclasses.replace(prediction, depth=None)
    return steps.score(output, prediction, batch, objective=objective, max_depth_m=max_depth_m)
