"""Frontier classes with a class-weighted cross-entropy (thesis, sections 3.4.3 and 4.3.3).

    python -m psp_jax.main --config=configs/weighted_ce.py

is `finetune_head.py` with interior pixels weighted so that they count as much as all frontiers
together; it starts from `runs/depth_mse`, which has to be trained first (2 CPU cores, 2026-11-26:
75.88 % of the pixels of the test split, as many as are interior). At full size

    python -m psp_jax.main --config=configs/weighted_ce.py:scannet

starts from a published PSPNet, named by `--config.init_from=FILE`. The thesis found no improvement;
with `--config.objective.interior_weight=0`, its last run, it reports 3.21 % training accuracy (the
rooms: 5.29 % of the test split, with every pixel taken for a frontier).
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import segmenter

# Share of frontier over share of interior pixels: of the thesis's labels, and of the rooms' SEEDS.
THESIS_WEIGHT = 0.1428 / 0.8572
ROOMS_WEIGHT = 0.245 / 0.755


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _rooms() -> experiment.Experiment:
    config = presets.rooms(
        "weighted_ce",
        objectives.FrontierSoftmax(interior_weight=ROOMS_WEIGHT),
        sources.EmbeddedRooms(),
        model=presets.narrow(softmax=True),
        train=("head", "classifier", "softmax"),
    )
    config.init_from = "runs/depth_mse"
    return config


def _scannet() -> experiment.Experiment:
    config = presets.scannet(
        "weighted_ce",
        objectives.FrontierSoftmax(interior_weight=THESIS_WEIGHT),
        sources.ScanNet(config="thesis_small"),
        model=segmenter.Segmenter(depth=101, softmax=True),
        train=("head", "classifier", "softmax"),
    )
    config.data.batch_size = 4
    return config
