"""Depth from RGB by the scale-invariant log loss, as BTS has it.

    python -m psp_jax.main --config=configs/depth_silog.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (2 CPU cores, 2026-11-26:
RMSE 0.423 m and AbsRel 0.144 on the test split, where the mean depth image has 0.594 m and 0.213),
and

    python -m psp_jax.main --config=configs/depth_silog.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first; it differs from
`depth_mse.py:scannet` in the loss alone.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _rooms() -> experiment.Experiment:
    return presets.rooms("depth_silog", objectives.DepthSILog(), sources.EmbeddedRooms())


def _scannet() -> experiment.Experiment:
    return presets.scannet("depth_silog", objectives.DepthSILog(), sources.ScanNet())
