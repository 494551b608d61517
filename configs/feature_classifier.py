"""Frontier classes from frozen features (thesis, sections 3.4.1 and 4.3.1).

    python -m psp_jax.main --config=configs/feature_classifier.py

trains the 1x1 convolution to 16 classes and the softmax classifier after it, on a tenth of the
training images, over the frozen features of `runs/depth_mse`, which has to be trained first: the
rooms have no published weights (2 CPU cores, 2026-11-26: 75.88 % of the pixels of the test split,
as many as are interior; outputs of this size fitted to the truth itself have 76.11 %). At full size

    python -m psp_jax.main --config=configs/feature_classifier.py:scannet

trains 8,480 parameters on top of a published PSPNet, named by `--config.init_from=FILE`. The thesis
reports accuracies from 60 to nearly 90 % for this and `finetune_head.py`, where 85.72 % of the
pixels are interior.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import segmenter


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _rooms() -> experiment.Experiment:
    config = presets.rooms(
        "feature_classifier",
        objectives.FrontierSoftmax(),
        sources.EmbeddedRooms(),
        model=presets.narrow(softmax=True),
        train=("classifier", "softmax"),
    )
    return _thesis(config, init_from="runs/depth_mse")


def _scannet() -> experiment.Experiment:
    config = presets.scannet(
        "feature_classifier",
        objectives.FrontierSoftmax(),
        sources.ScanNet(config="thesis_small"),
        model=segmenter.Segmenter(depth=101, softmax=True),
        train=("classifier", "softmax"),
    )
    config.data.batch_size = 16
    return _thesis(config)


def _thesis(config: experiment.Experiment, init_from: str = "") -> experiment.Experiment:
    """What the thesis says beside the parts: a tenth of the data."""
    config.data.train_fraction = 0.1
    config.init_from = init_from
    return config
