"""Writes workdirs of untrained runs, for tests of the programs that use a finished run."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_builders import sources
from psp_jax import checkpoints, experiment, models, objectives, optim, state
from psp_jax.models import decoder, resnet, segmenter
from psp_jax.partition import calibration

SIZE = (64, 64)  # Initial values do not depend on it.
CALIBRATED = calibration.Calibration(temperature=0.5, bias=0.7, threshold=0.3, cut_above=0.3)
NARROW = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0)


def write(
    folder: pathlib.Path,
    data_dir: pathlib.Path,
    objective: objectives.Objective,
    model: models.Network,
) -> None:
    """Writes the config and a checkpoint of random values, larger than initial ones."""
    config = experiment.Experiment(
        name=folder.name,
        model=model,
        objective=objective,
        data=experiment.Data(
            source=sources.ScanNet(data_dir=str(data_dir), config="small"), labels="planar"
        ),
        phases=(experiment.Phase(steps=1),),
    )
    values = variables(config.model.make(objective.channels))
    folder.mkdir(parents=True, exist_ok=True)
    experiment.save(config, folder)
    with checkpoints.Store(folder, keep=1) as store:
        store.save(state.create(values, optim.make(config.phases[0]), ("trunk",), step=1))


def variables(network: Any) -> state.Variables:
    """Draws random values, larger than initial ones; to initialise a network compiles it."""
    image = jax.ShapeDtypeStruct((1, *SIZE, network.INPUT_CHANNELS), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    rng = np.random.default_rng(0)
    return jax.tree_util.tree_map_with_path(functools.partial(_value, rng), shapes)


def _value(rng: np.random.Generator, path: tuple, like: jax.ShapeDtypeStruct) -> jax.Array:
    name = path[-1].key
    if name == "kernel":
        scale = np.sqrt(2 / np.prod(like.shape[:-1]))
        return jnp.asarray(rng.normal(0, scale, like.shape), jnp.float32)
    return jnp.asarray(np.full(like.shape, name in ("scale", "var"), np.float32))


def write_depth(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
    """Writes a run that predicts depth."""
    write(folder, data_dir, objectives.DepthMSE(center_m=5.0), NARROW)


def write_edges(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
    """Writes a run that predicts inter-pixel edges, with the calibration `CALIBRATED`."""
    model = decoder.FullResolution(NARROW, decoder_width=4)
    write(folder, data_dir, objectives.FrontierEdges(), model)
    calibration.save(CALIBRATED, folder / "calibration.json")
