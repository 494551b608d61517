"""Depth from RGB by mean squared error (thesis, section 3.4.4.1).

    python -m psp_jax.main --config=configs/depth_mse.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (one CPU core, 2026-11-25:
RMSE 0.418 m and 8.72 of 255 gray levels of 10 m on the test split, where the mean depth image has
0.594 m and 12.45), and

    python -m psp_jax.main --config=configs/depth_mse.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first. The thesis reports a mean
absolute difference below 12 gray levels on its 981 test images, without stating their range.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet())
    return presets.depth("depth_mse", variant, objectives.DepthMSE(), source)
