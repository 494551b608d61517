"""The ceiling of a network's output size: the best that outputs of that size could say.

PSPNet's outputs have 1/8 of the image's size, and frontiers are one pixel wide. Here outputs of the
network's size are fitted straight to the truth of each image, with no network between, by the loss
that the run was trained with: whatever a run learned, it would say no more than these.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from psp_jax import data, steps
from psp_jax.batch import Batch
from psp_jax.experiment import Experiment
from psp_jax.metrics import depth_metrics, edge_metrics
from psp_jax.objectives import edges
from psp_jax.state import Variables

IMAGES = 16  # Evenly spaced; every one is a fit of its own.
# The losses are convex in their logits, so that a large rate falling to 0 gets to the bottom: four
# times the steps at a third of the rate lower a softmax's by 0.001 of 0.87 nats on the rooms.
STEPS = 150
LEARNING_RATE = 10.0


def measure(
    config: Experiment, model: Any, variables: Variables, examples: data.Examples
) -> dict[str, Any] | None:
    """Fits outputs to evenly spaced images of a split.

    Returns:
        `images`, `grid`, the outputs' height and width, and the figures of classes and edges of
        what they say; None where the outputs are as large as the image or speak of no classes.
    """
    chosen = np.unique(np.linspace(0, len(examples) - 1, min(len(examples), IMAGES)).astype(int))
    confusions, tally = depth_metrics.Confusions(edges.CLASSES), edge_metrics.EdgeTally()
    fit, grid = _fit(config), (0, 0)
    for batch in data.eval_batches(data.Subset(examples, chosen), config.data):
        output = jax.eval_shape(lambda v, b: model.apply(v, model.inputs(b)), variables, batch)
        grid, size = output.shape[1:3], batch.image.shape[1:3]
        said = jax.eval_shape(functools.partial(config.objective.predict, size=size), output)
        if grid == size or said.classes is None:
            return None
        found = fit(jnp.zeros(output.shape, output.dtype), batch)
        confusions.add(found["classes"]["counts"], batch.valid)
        tally.add(found["edges"])
    figures = depth_metrics.class_means(confusions.total)
    return {"images": len(chosen), "grid": list(grid), **figures, **tally.figures()}


def _fit(config: Experiment) -> Callable[[jax.Array, Batch], dict[str, dict]]:
    objective, tx = config.objective, optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS))

    @jax.jit
    def fit(output: jax.Array, batch: Batch) -> dict[str, dict]:
        def step(_, carried):
            output, state = carried
            gradient = jax.grad(lambda output: objective.loss(output, batch).value())(output)
            updates, state = tx.update(gradient, state)
            return optax.apply_updates(output, updates), state

        output, _ = jax.lax.fori_loop(0, STEPS, step, (output, tx.init(output)))
        prediction = objective.predict(output, batch.image.shape[1:3])
        return steps.judge(prediction, batch, max_depth_m=config.data.max_depth_m)

    return fit
