"""The training step and the evaluation step: pure functions, jitted by `train`."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from psp_jax import edges, frontier_metrics, metrics, objectives, parts
from psp_jax.batch import Batch, Prediction
from psp_jax.state import TrainState, Variables

AUXILIARY_WEIGHT = 0.4  # Zhao et al. 2017, section 5.2.


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: Any,
    objective: objectives.Objective,
    tx: optax.GradientTransformation,
    train: tuple[str, ...],
    seed: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Takes one optimizer step on the parts `train`.

    The loss is differentiated with respect to the trained parameters only, so XLA computes no
    gradient of a frozen one, and frozen parameters and statistics pass through untouched. Outputs
    that the model stores in the collection "auxiliary" have a share in the loss.

    Returns:
        The next state, and the step's `loss` and `gradient_norm` as scalars.
    """
    trained, frozen = parts.split(state.params, train)
    dropout = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss_of(trained: parts.Tree):
        variables = {"params": parts.merge(trained, frozen), "batch_stats": state.batch_stats}
        output, updated = model.apply(
            variables,
            model.inputs(batch),
            train=train,
            rngs={"dropout": dropout},
            mutable=["batch_stats", "auxiliary"],
        )
        loss = objective.loss(output, batch).value()
        for output in jax.tree.leaves(updated.get("auxiliary", {})):
            loss += AUXILIARY_WEIGHT * objective.loss(output, batch).value()
        return loss, updated["batch_stats"]

    (loss, batch_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
    updates, opt_state = tx.update(gradient, state.opt_state, trained)
    moved: Any = optax.apply_updates(trained, updates)
    figures = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
    params = parts.merge(moved, frozen)
    return TrainState(state.step + 1, params, batch_stats, opt_state), figures


def eval_step(
    variables: Variables,
    batch: Batch,
    *,
    model: Any,
    objective: objectives.Objective,
    range_m: float,
) -> tuple[objectives.Mean, dict[str, dict[str, jax.Array]]]:
    """Returns the loss and the per-image figures of a batch, without training anything.

    The figures are those of `judge`.
    """
    output = model.apply(variables, model.inputs(batch))
    prediction = objective.predict(output, batch.image.shape[1:3])
    return objective.loss(output, batch), judge(prediction, batch, range_m=range_m)


def judge(prediction: Prediction, batch: Batch, *, range_m: float) -> dict[str, dict]:
    """Compares a prediction with the truth, image by image.

    Returns:
        What `metrics.depth_figures` returns under `depth`, `frontier_metrics.edge_counts` under
        `edges` and, as `counts`, `metrics.confusion` under `classes`, for what is predicted.
    """
    figures = {}
    if prediction.depth is not None:
        figures["depth"] = metrics.depth_figures(prediction.depth, batch, range_m=range_m)
    if prediction.edges is not None:
        figures["edges"] = frontier_metrics.edge_counts(prediction.edges, batch)
    if prediction.classes is not None:
        known = ~jnp.asarray(batch.filled) & jnp.asarray(batch.valid)[:, None, None]
        counts = metrics.confusion(prediction.classes, batch.frontier, known, classes=edges.CLASSES)
        figures["classes"] = {"counts": counts}
    return figures
