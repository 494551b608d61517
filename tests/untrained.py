"""Workdirs of runs without their training, for tests of what is done with a finished run."""

import pathlib

import jax

from data_builders import sources
from psp_jax import checkpoints, experiment, models, objectives, optim, state
from psp_jax.models import decoder, segmenter
from tests import conftest

NARROW = segmenter.Segmenter(depth=10, width=4, dropout=0.0)


def write(
    folder: pathlib.Path,
    data_dir: pathlib.Path,
    objective: objectives.Objective,
    model: models.Network,
    *,
    louder: float,
) -> experiment.Experiment:
    """Writes the config and a checkpoint of initial values.

    The last part's are made `louder`, so that the outputs are not almost the same everywhere.
    """
    config = experiment.Experiment(
        name=folder.name,
        model=model,
        objective=objective,
        data=experiment.Data(
            source=sources.ScanNet(data_dir=str(data_dir), config="small"), labels="planar"
        ),
        phases=(experiment.Phase(steps=1),),
    )
    network = config.model.make(objective.channels)
    variables = state.initial_variables(network, (*conftest.SIZE, network.INPUT_CHANNELS), seed=0)
    last = network.PARTS[-1]
    variables["params"][last] = jax.tree.map(lambda x: louder * x, variables["params"][last])
    folder.mkdir(parents=True, exist_ok=True)
    experiment.save(config, folder)
    with checkpoints.Store(folder, keep=1) as store:
        store.save(state.create(variables, optim.make(config.phases[0]), ("trunk",), step=1))
    return config


def write_depth(folder: pathlib.Path, data_dir: pathlib.Path) -> experiment.Experiment:
    """Writes a run that predicts depth."""
    return write(folder, data_dir, objectives.DepthMSE(), NARROW, louder=30.0)


def write_edges(folder: pathlib.Path, data_dir: pathlib.Path) -> experiment.Experiment:
    """Writes a run that predicts inter-pixel edges."""
    model = decoder.FullResolution(NARROW, decoder_width=4)
    return write(folder, data_dir, objectives.FrontierEdges(), model, louder=1.3)
