"""Frontier classes from a frozen trunk and head (thesis, sections 3.4.1 and 4.3.1).

    python -m psp_jax.main --config=configs/feature_classifier.py

trains only the 1x1 convolution to 16 classes and the softmax classifier after it, on a tenth of the
training images. The other parts come from `runs/depth_mse`, which has to be trained first: the
rooms have no published weights (one CPU core, 2026-11-26: the right class in 75.88 % of the pixels
of the test split, as many as are interior; outputs of this resolution that are fitted to the true
classes reach 76.11 %). At ScanNet scale,

    python -m psp_jax.main --config=configs/feature_classifier.py:scannet

trains 8,480 parameters of a published PSPNet, given by `--config.init_from=FILE`. The thesis
reports accuracies from 60 to nearly 90 % for this and `finetune_head.py`, where 85.72 % of the
pixels are interior.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(
        variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet(config="thesis_small")
    )
    train = ("classifier", "softmax")
    config = presets.frozen_trunk(
        "feature_classifier", variant, objectives.FrontierSoftmax(), source, train
    )
    config.data.train_fraction = 0.1
    config.data.batch_size = presets.pick(variant, rooms=4, scannet=16)
    return config
