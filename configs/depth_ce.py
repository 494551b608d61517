"""Depth from RGB as one of 256 gray levels, by cross-entropy (thesis, section 3.4.4.1).

    python -m psp_jax.main --config=configs/depth_ce.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (2 CPU cores, 2026-11-26:
5.07 % of the pixels of the test split in the right one of 255 levels of 10 m, where the mean depth
image has 2.54 %; RMSE 0.442 m against 0.594 m), and

    python -m psp_jax.main --config=configs/depth_ce.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first. The thesis reports 3.78 %
of the pixels of its 981 test images in the right level, without saying which loss or what range; it
fits 3 images on its 12 GB card. `"--config.objective.max_depth_m=6.55"` gives the levels another range.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _rooms() -> experiment.Experiment:
    return presets.rooms("depth_ce", objectives.DepthCE(), sources.EmbeddedRooms())


def _scannet() -> experiment.Experiment:
    return presets.scannet("depth_ce", objectives.DepthCE(), sources.ScanNet())
