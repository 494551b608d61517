"""Depth from RGB as a distribution over log-spaced bins, decoded as its expected value.

Soft-label cross-entropy with scale-invariant log and multi-scale gradient terms:

    python -m psp_jax.main --config=configs/depth_bins.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (one CPU core, 2026-11-26:
RMSE 0.395 m and AbsRel 0.135 on the test split, where `depth_mse.py` has 0.418 m and 0.148, and the
mean depth image 0.594 m and 0.213), and

    python -m psp_jax.main --config=configs/depth_bins.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first; only the loss differs
from `depth_mse.py:scannet`.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet())
    return presets.depth("depth_bins", variant, objectives.DepthBins(), source)
