"""Frontier classes, fine-tuned from the concatenation on (thesis, sections 3.4.2 and 4.3.2).

    python -m psp_jax.main --config=configs/finetune_head.py

trains the 3x3 convolution, its batch norm, the 1x1 convolution to 16 classes and the softmax
classifier over the frozen trunk of `runs/depth_mse`, which has to be trained first (2 CPU cores,
2026-11-26: 75.88 % of the pixels of the test split, as many as are interior; outputs of this size
fitted to the truth itself have 76.11 %). At full size

    python -m psp_jax.main --config=configs/finetune_head.py:scannet

trains 18.9 million parameters on top of a published PSPNet, named by `--config.init_from=FILE`. The
thesis reports an accuracy of nearly 90 %, where 85.72 % of the pixels are interior.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import segmenter


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _rooms() -> experiment.Experiment:
    config = presets.rooms(
        "finetune_head",
        objectives.FrontierSoftmax(),
        sources.EmbeddedRooms(),
        model=presets.narrow(softmax=True),
        train=("head", "classifier", "softmax"),
    )
    config.init_from = "runs/depth_mse"
    return config


def _scannet() -> experiment.Experiment:
    config = presets.scannet(
        "finetune_head",
        objectives.FrontierSoftmax(),
        sources.ScanNet(config="thesis_small"),
        model=segmenter.Segmenter(depth=101, softmax=True),
        train=("head", "classifier", "softmax"),
    )
    config.data.batch_size = 4
    return config
