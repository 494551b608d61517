"""Frontiers of planar regions from RGB at full resolution, as four bits per pixel.

    python -m psp_jax.main --config=configs/frontier_sigmoid.py

trains a narrow ResNet-18-PSPNet with a light decoder on the embedded rooms, at laptop size (one CPU
cores, 2026-11-26: boundary F 0.778 at 1 px and ARI 0.824 on the test split, where as many SLIC
regions of the colours have 0.429 and 0.336), and

    python -m psp_jax.main --config=configs/frontier_sigmoid.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, built with `--config=planar`. On the rooms,
`--config.data.labels=seeds` trains on the thesis's superpixels instead.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(
        variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet(config="planar")
    )
    objective = objectives.FrontierSigmoid(prior=presets.PLANAR_EDGE_PRIOR)
    return presets.planar("frontier_sigmoid", variant, objective, source)
