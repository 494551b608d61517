"""Frontier classes from filled depth, by a CNN from scratch (thesis, section 3.4.4.2).

    python -m psp_jax.main --config=configs/depth_to_frontier.py

trains a small U-Net on the depth of the rooms (one CPU core, 2026-11-25: the right class in 76.80 %
of the pixels of the test split, of which 75.88 % are interior, and boundary F 0.694 at 1 px, where
as many SLIC regions have 0.579), and

    python -m psp_jax.main --config=configs/depth_to_frontier.py:scannet

a larger one on the depth of ScanNet. The thesis reports no result for it.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import unet


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(
        variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet(config="thesis_small")
    )
    make = presets.pick(variant, rooms=presets.rooms, scannet=presets.scannet)
    model = presets.pick(variant, rooms=unet.DepthCNN(), scannet=unet.DepthCNN(width=32, levels=4))
    train = ("encoder", "decoder", "classifier")
    name = presets.name_of("depth_to_frontier", variant)
    return make(name, objectives.FrontierSoftmax(), source, model, train)
