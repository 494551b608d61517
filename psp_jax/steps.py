"""The training step and the evaluation step: pure functions, jitted by `runtime.mesh`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from psp_jax import experiment, objectives, optim
from psp_jax.batch import Array, Batch, Prediction
from psp_jax.metrics import class_metrics, depth_metrics, edge_metrics
from psp_jax.models import parts
from psp_jax.objectives import edges
from psp_jax.state import Trained, TrainState, Variables, trained_of

# Metrics `[B]` by name of depth `[B, H, W]` in metres; see `metrics.depth_metrics`.
DepthMetrics = Callable[..., dict[str, jax.Array]]
AUXILIARY_WEIGHT = 0.4  # Zhao et al. 2017, section 5.2.
_AUGMENTATION = 2**31 - 1  # Folded into a key where no batch of a step has this number.


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: Any,
    objective: objectives.Objective,
    tx: optax.GradientTransformation,
    phase: experiment.Phase,
    seed: int,
    augment: Callable[[Batch, jax.Array], Batch] | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """Takes one optimizer step on the trained parts of the phase.

    The loss is differentiated with respect to the trained parameters only, so XLA computes no
    gradient of a frozen one, and frozen parameters and statistics pass through untouched.

    A step whose loss, gradient or statistics are not finite changes nothing but the counter.

    Args:
        state: the train state.
        batch: a batch; with `phase.accumulate` above 1 that many, stacked along a first axis.
        model: the network.
        objective: the loss.
        tx: the optimizer.
        phase: what is trained and how.
        seed: of dropout and augmentation, together with the step.
        augment: changes a batch at random; None leaves it as it is.

    Returns:
        The next state, and the metrics of the step: the scalars `loss` and `gradient_norm`, whether
        all is `finite`, and the `terms` of the loss by name, if it has several.
    """
    trained = trained_of(state, phase.train)
    _, frozen = parts.split(state.params, phase.train)
    dropout = step_key(seed, state.step)
    loss_fn = functools.partial(_loss, model=model, objective=objective, train=phase.train)
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def gradient_of(batch_stats: parts.Tree, batch: Batch, key: jax.Array):
        if augment is not None:
            batch = augment(batch, augmentation_key(key))
        return value_and_grad(trained.params, frozen, batch_stats, batch, key)

    if phase.accumulate == 1:
        (loss, (terms, batch_stats)), gradient = gradient_of(trained.batch_stats, batch, dropout)
        metrics = {"loss": loss, "terms": terms}
    else:
        metrics, gradient, batch_stats = _accumulated(gradient_of, batch, trained, dropout)
    norm = optax.tree.norm(gradient)
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
    for statistic in jax.tree.leaves(batch_stats):  # They can overflow while the loss does not.
        finite &= jnp.isfinite(statistic).all()
    updates, opt_state = tx.update(gradient, trained.opt_state, trained.params)
    params: Any = optax.apply_updates(trained.params, updates)
    if phase.ema_decay:
        after = Trained(params, batch_stats, opt_state)
        new = _averaged(state, after, optim.steps_taken(trained.opt_state), phase)
    else:
        new = TrainState(state.step, parts.merge(params, frozen), batch_stats, opt_state)
    new = jax.tree.map(lambda x, old: x if x is old else jnp.where(finite, x, old), new, state)
    new = dataclasses.replace(new, step=state.step + 1)
    return new, {**metrics, "gradient_norm": norm, "finite": finite}


def step_key(seed: int, step: Any) -> jax.Array:
    """Returns the key of the randomness of the step after `step`."""
    return jax.random.fold_in(jax.random.key(seed), step)


def augmentation_key(key: jax.Array) -> jax.Array:
    """Returns the key of the augmentation of a batch from the key of its dropout."""
    return jax.random.fold_in(key, _AUGMENTATION)


def _loss(
    trained: parts.Tree,
    frozen: parts.Tree,
    batch_stats: parts.Tree,
    batch: Batch,
    dropout: jax.Array,
    *,
    model: Any,
    objective: objectives.Objective,
    train: tuple[str, ...],
) -> tuple[jax.Array, tuple[dict[str, jax.Array], parts.Tree]]:
    """Returns the loss, then its terms and the updated statistics.

    Outputs that the model stores in the collection "auxiliary" add a share to the loss.
    """
    output, updated = model.apply(
        {"params": parts.merge(trained, frozen), "batch_stats": batch_stats},
        model.inputs(batch),
        train=train,
        rngs={"dropout": dropout},
        mutable=["batch_stats", "auxiliary"],
    )
    mean = objective.loss(output, batch)
    loss, terms = mean.value(), dict(mean.terms)
    for output in jax.tree.leaves(updated.get("auxiliary", {})):
        terms = terms or {"outputs": loss}
        terms["auxiliary"] = objective.loss(output, batch).value()
        loss += AUXILIARY_WEIGHT * terms["auxiliary"]
    return loss, (terms, updated["batch_stats"])


def _accumulated(
    gradient_of: Callable, batches: Batch, trained: Trained, dropout: jax.Array
) -> tuple[dict[str, Any], parts.Tree, parts.Tree]:
    """Returns mean metrics and gradient over batches, and the statistics after the last one."""

    def add(carry: Any, numbered: tuple[jax.Array, Batch]):
        index, batch = numbered
        total, batch_stats = carry
        key = jax.random.fold_in(dropout, index)
        (loss, (terms, batch_stats)), gradient = gradient_of(batch_stats, batch, key)
        metrics = {"loss": loss, "terms": terms}
        return (jax.tree.map(jnp.add, total, gradient), batch_stats), metrics

    count = len(batches.valid)
    zeros = jax.tree.map(jnp.zeros_like, trained.params)
    start = (zeros, trained.batch_stats)
    (total, batch_stats), metrics = jax.lax.scan(add, start, (jnp.arange(count), batches))
    gradient = jax.tree.map(lambda leaf: leaf / count, total)
    return jax.tree.map(jnp.mean, metrics), gradient, batch_stats


def _averaged(
    state: TrainState, after: Trained, taken: jax.Array, phase: experiment.Phase
) -> TrainState:
    """Moves the exponential moving averages towards the values after a step."""
    # A smaller decay at first, as in TensorFlow, forgets the initial values.
    decay = jnp.minimum(phase.ema_decay, (1 + taken) / (10 + taken))

    def follow(average: jax.Array, value: jax.Array) -> jax.Array:
        # In this form an unchanged value stays bit-identical.
        return average + (1 - decay) * (value - average)

    averages, frozen = parts.split(state.params, phase.train)
    params = parts.merge(jax.tree.map(follow, averages, after.params), frozen)
    batch_stats = jax.tree.map(follow, state.batch_stats, after.batch_stats)
    return TrainState(state.step, params, batch_stats, after)


def predict(
    variables: Variables, batch: Batch, *, model: Any, objective: objectives.Objective
) -> tuple[jax.Array, Prediction]:
    """Returns the network's outputs and the prediction of a batch, without training anything.

    The prediction includes the depth inside a two-phase network, which its objective does not see.
    """
    output, stored = model.apply(variables, model.inputs(batch), mutable=["predictions"])
    prediction = objective.predict(output, batch.size)
    if "predictions" in stored:
        (depth,) = stored["predictions"]["depth_m"]
        prediction = dataclasses.replace(prediction, depth=depth)
    return output, prediction


def predict_images(
    variables: Variables,
    image: jax.Array,
    *,
    model: Any,
    objective: objectives.Objective,
    color_scale: int,
) -> Prediction:
    """Predicts `[B, s * H, s * W, 3]` uint8 RGB at `[H, W]`, s the colour scale; can be traced.

    Args:
        variables: of the network.
        image: not normalised.
        model: the network, which sees RGB.
        objective: that of its training.
        color_scale: pixels of the image along a side of a pixel of the prediction.
    """
    size = image.shape[1] // color_scale, image.shape[2] // color_scale
    zeros = jnp.zeros((len(image), *size))
    batch = Batch(
        image=image,
        depth=zeros,
        filled_depth=zeros,
        frontier=zeros.astype(jnp.uint8),
        filled=zeros.astype(bool),
        valid=jnp.ones(len(image), bool),
    )
    return predict(variables, batch, model=model, objective=objective)[1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BatchScores:
    """The loss and the metrics of a batch, image by image; None for what is not predicted.

    Attributes:
        loss: the objective's.
        valid: `[B]` bool, False for padding.
        depth: `[B]` arrays by name, as `DepthMetrics` returns them.
        edge_counts: see `edge_metrics.edge_counts`.
        confusion: `[B, 16, 16]` int32, see `class_metrics.confusion`.
    """

    loss: objectives.Mean
    valid: Array
    depth: dict[str, jax.Array] | None = None
    edge_counts: dict[str, jax.Array] | None = None
    confusion: jax.Array | None = None


def score(
    output: jax.Array,
    prediction: Prediction,
    batch: Batch,
    *,
    objective: objectives.Objective,
    max_depth_m: float,
    measure_depth: DepthMetrics = depth_metrics.depth_metrics,
) -> BatchScores:
    """Compares the results of `predict` with the truth, image by image."""
    depth = edge_counts = confusion = None
    if prediction.depth is not None:
        depth = measure_depth(prediction.depth, batch, max_depth_m=max_depth_m)
    if prediction.edges is not None:
        edge_counts = edge_metrics.edge_counts(prediction.edges, batch)
    if prediction.classes is not None:
        confusion = class_metrics.confusion(
            prediction.classes, batch.frontier, batch.has_class(), classes=edges.CLASSES
        )
    return BatchScores(objective.loss(output, batch), batch.valid, depth, edge_counts, confusion)


def eval_step(
    variables: Variables,
    batch: Batch,
    *,
    model: Any,
    objective: objectives.Objective,
    max_depth_m: float,
    measure_depth: DepthMetrics = depth_metrics.depth_metrics,
) -> BatchScores:
    """Predicts and scores a batch, without training anything."""
    output, prediction = predict(variables, batch, model=model, objective=objective)
    return score(
        output,
        prediction,
        batch,
        objective=objective,
        max_depth_m=max_depth_m,
        measure_depth=measure_depth,
    )
