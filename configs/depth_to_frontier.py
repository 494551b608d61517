"""Frontier classes from filled depth, a CNN from scratch (thesis, section 3.4.4.2).

    python -m psp_jax.main --config=configs/depth_to_frontier.py

trains a small U-Net on the depth of the rooms (2 CPU cores, 2026-11-25: 76.80 % of the pixels of
the test split, of which 75.88 % are interior, and boundary F 0.694 at 1 px, where as many SLIC
regions have 0.579), and

    python -m psp_jax.main --config=configs/depth_to_frontier.py:scannet

on ScanNet's. The thesis had no figure for it yet.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import unet


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _rooms() -> experiment.Experiment:
    return presets.rooms(
        "depth_to_frontier",
        objectives.FrontierSoftmax(),
        sources.EmbeddedRooms(),
        model=unet.DepthCNN(),
        train=("encoder", "decoder", "classifier"),
    )


def _scannet() -> experiment.Experiment:
    return presets.scannet(
        "depth_to_frontier",
        objectives.FrontierSoftmax(),
        sources.ScanNet(config="thesis_small"),
        model=unet.DepthCNN(width=32, levels=4),
        train=("encoder", "decoder", "classifier"),
    )
