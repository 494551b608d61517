"""Depth from RGB as one of 256 gray levels, by cross-entropy (thesis, section 3.4.4.1).

    python -m psp_jax.main --config=configs/depth_ce.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (one CPU core, 2026-11-26:
the right one of 255 levels of 10 m in 5.07 % of the pixels of the test split, where the mean depth
image has 2.54 %; RMSE 0.442 m, where it has 0.594 m), and

    python -m psp_jax.main --config=configs/depth_ce.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first. The thesis reports the
right level in 3.78 % of the pixels of its 981 test images, without stating the loss or the range;
it fits 3 images on its 12 GB card. `"--config.objective.max_depth_m=6.55"` sets another range.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet())
    return presets.depth("depth_ce", variant, objectives.DepthCE(), source)
