"""Frontier classes from a fine-tuned head (thesis, sections 3.4.2 and 4.3.2).

    python -m psp_jax.main --config=configs/finetune_head.py

trains the 3x3 convolution, its batch norm, the 1x1 convolution to 16 classes and the softmax
classifier. The frozen trunk is that of `runs/depth_mse`, which has to be trained first (one CPU
core, 2026-11-26: the right class in 75.88 % of the pixels of the test split, as many as are
interior; outputs of this resolution that are fitted to the true classes reach 76.11 %). At ScanNet
scale,

    python -m psp_jax.main --config=configs/finetune_head.py:scannet

trains 18.9 million parameters of a published PSPNet, given by `--config.init_from=FILE`. The thesis
reports an accuracy of nearly 90 %, where 85.72 % of the pixels are interior.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(
        variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet(config="thesis_small")
    )
    train = ("head", "classifier", "softmax")
    return presets.frozen_trunk(
        "finetune_head", variant, objectives.FrontierSoftmax(), source, train
    )
