"""Depth from RGB by the scale-invariant log loss of BTS.

    python -m psp_jax.main --config=configs/depth_silog.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (one CPU core, 2026-11-26:
RMSE 0.423 m and AbsRel 0.144 on the test split, where the mean depth image has 0.594 m and 0.213),
and

    python -m psp_jax.main --config=configs/depth_silog.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first; only the loss differs
from `depth_mse.py:scannet`.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet())
    return presets.depth("depth_silog", variant, objectives.DepthSILog(), source)
