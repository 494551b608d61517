"""Epochs of heads with and without kept features: `python -m benchmarks.feature_cache`.

Trains what `configs/feature_classifier.py` and `configs/finetune_head.py` train on the rooms, from
random weights, an epoch after the other, as the run does: reading, steps, and then the validation,
which is timed by itself. The losses of both are compared step by step.
"""

import dataclasses
import functools
import pathlib
import shutil
import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np

from configs import feature_classifier, finetune_head
from psp_jax import data, feature_cache, optim, state, steps
from psp_jax.evaluation import scoring
from psp_jax.io import command_line

CONFIGS = {"feature_classifier": feature_classifier, "finetune_head": finetune_head}
STORED = ("float16", "float32", "bfloat16")


def main() -> None:
    """Prints a line for every kind of features and type they are stored in."""
    parser = command_line.Parser("benchmarks.feature_cache", __doc__)
    parser.add_argument("--images", type=float, default=0.1, help="share of the images")
    parser.add_argument("--epochs", type=int, default=2, help="the fastest counts")
    parser.add_argument("--width", type=int, default=16, help="of the trunk; 64 as published")
    parser.add_argument("--depth", type=int, default=18, help="layers of the trunk")
    parser.add_argument("--data_dir", default="data", help="folder of the prepared rooms")
    parser.add_argument("--stored", nargs="+", default=STORED, help="types features are kept in")
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    arguments = parser.parse_args()
    for name in arguments.configs:
        config = CONFIGS[name].get_config()
        config.data.source.data_dir = arguments.data_dir
        config.data.train_share = arguments.images
        config.model.width, config.model.depth = arguments.width, arguments.depth
        with tempfile.TemporaryDirectory() as folder:
            config.cache_features = folder
            compare(config, arguments.epochs, arguments.stored)


def compare(config, epochs: int, types: Sequence[str]) -> None:
    """Trains on images, then on features of every type."""
    place = config.data.source.prepare()
    splits = data.open_splits(place)
    for name in ("train", "validation"):
        splits[name] = data.shared(splits[name], config.data.train_share)
    count = {name: len(splits[name]) for name in ("train", "validation")}
    model = config.model.make(config.objective.channels)
    variables = settled(config, model, splits["train"])
    slow, losses = trained(config, model, variables, splits, epochs)
    size = "x".join(map(str, data.image_size(splits["train"])))
    print(
        f"{config.name}, {config.model.depth} layers of width {config.model.width}, {count} {size}"
    )
    print(f"  from images      {slow[0]:7.2f} s an epoch, {slow[1]:.2f} s its validation")
    for stored in types:
        feature_cache.STORED = np.dtype(stored)
        began_s = time.perf_counter()
        rest, kept = feature_cache.open_or_build(config, model, variables, splits, place)
        built_s = time.perf_counter() - began_s
        files = pathlib.Path(config.cache_features).rglob("*.array_record")
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        fast, others = trained(config, rest, variables, kept, epochs)
        apart = np.abs(others / losses - 1).max()
        print(
            f"  kept as {stored:<8} {fast[0]:7.2f} s an epoch, "
            f"{slow[0] / fast[0]:.1f} times as fast; "
            f"{fast[1]:.2f} s its validation, {slow[1] / fast[1]:.1f} times; "
            f"losses differ by {apart:.1e}; {megabytes:.1f} MB, built in {built_s:.1f} s",
            flush=True,
        )
        shutil.rmtree(config.cache_features)


def settled(config, model, examples):
    """Returns random weights with the batch norm statistics of the first images.

    With those of initial values a deep trunk's features grow from block to block, as no trained
    one's do.
    """
    variables = state.initial_variables(model, (64, 64, 3), config.seed)
    everything, kept = tuple(model.PARTS), config.model.geometry.kept

    @jax.jit
    def first(variables, batch):
        options = {"train": everything, "mutable": ["batch_stats"]}
        _, updated = model.apply(
            variables, model.inputs(batch), rngs={"dropout": jax.random.key(0)}, **options
        )

        def of_the_batch(old, new):
            return (new - kept * old) / (1 - kept)

        return jax.tree.map(of_the_batch, variables["batch_stats"], updated["batch_stats"])

    batch = next(data.eval_batches(examples, config.data))
    return {**variables, "batch_stats": first(variables, batch)}


def trained(config, model, variables, splits, epochs: int) -> tuple[list[float], np.ndarray]:
    """Returns the seconds of the fastest epoch and validation, and the losses of both."""
    phase = dataclasses.replace(config.phases[0], warmup_steps=0)
    tx = optim.make(phase)
    step = functools.partial(
        steps.train_step,
        model=model,
        objective=config.objective,
        tx=tx,
        phase=phase,
        seed=config.seed,
    )
    per_epoch = data.steps_per_epoch(splits["train"], config.data)
    batches = data.train_batches(splits["train"], config.data, seed=config.seed, first_step=0)
    current = state.create(jax.tree.map(np.array, variables), tx, phase.train, 0)
    first = next(batches)
    compiled = jax.jit(step, donate_argnums=0).lower(current, first).compile()
    evaluate = scoring.make(config, model)
    evaluate(variables, data.shared(splits["validation"], 0.05))  # Compiles it.
    batches = data.train_batches(splits["train"], config.data, seed=config.seed, first_step=0)
    seconds, losses = [], []
    for _ in range(epochs):
        began_s = time.perf_counter()
        for _ in range(per_epoch):
            current, figures = compiled(current, next(batches))
            losses.append(float(figures["loss"]))
        trained_s = time.perf_counter() - began_s
        losses.append(evaluate(current.variables, splits["validation"]).loss)
        seconds.append((trained_s, time.perf_counter() - began_s - trained_s))
    return [min(column) for column in zip(*seconds, strict=True)], np.array(losses, np.float64)


if __name__ == "__main__":
    main()
