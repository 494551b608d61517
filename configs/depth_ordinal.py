"""Depth from RGB by ordinal regression (DORN).

    python -m psp_jax.main --config=configs/depth_ordinal.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (one CPU core, 2026-11-26:
RMSE 0.411 m and AbsRel 0.143 on the test split, where the mean depth image has 0.594 m and 0.213),
and

    python -m psp_jax.main --config=configs/depth_ordinal.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first; only the loss differs
from `depth_mse.py:scannet`.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet())
    return presets.depth("depth_ordinal", variant, objectives.DepthOrdinal(), source)
