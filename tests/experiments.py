"""An experiment that trains in seconds."""

import pathlib

from data_builders import sources
from psp_jax import experiment, objectives
from psp_jax.models import resnet, segmenter


def make_tiny(data_dir: pathlib.Path) -> experiment.Experiment:
    """An experiment of two phases that trains in seconds."""
    return experiment.Experiment(
        name="tiny",
        model=segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.1),
        objective=objectives.DepthMSE(),
        data=experiment.Data(
            source=sources.ScanNet(data_dir=str(data_dir), config="small"), batch_size=4
        ),
        phases=(
            experiment.Phase(steps=6, train=("head", "classifier")),
            experiment.Phase(steps=10, learning_rate=1e-3, warmup_steps=2, final_lr_fraction=0.1),
        ),
        checkpoint_every=3,
        validate_every=4,
        pictures=2,
    )
