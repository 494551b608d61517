"""Depth from RGB by mean squared logarithmic error (thesis, section 3.4.4.1).

    python -m psp_jax.main --config=configs/depth_msle.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (one CPU core, 2026-11-26:
RMSE 0.433 m and 9.05 of 255 gray levels of 10 m on the test split, where the mean depth image has
0.594 m and 12.45), and

    python -m psp_jax.main --config=configs/depth_msle.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first. The thesis reports no
result for this loss.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet())
    return presets.depth("depth_msle", variant, objectives.DepthMSLE(), source)
