"""Frontiers of planar regions from RGB at full resolution, one output per edge between pixels.

    python -m psp_jax.main --config=configs/frontier_edges.py

trains a narrow ResNet-18-PSPNet with a light decoder on the embedded rooms, at laptop size (one CPU
core, 2026-11-27: boundary F 0.801 at 1 px and ARI 0.863 on the test split, where as many SLIC
regions of the colours have 0.425 and 0.312), and

    python -m psp_jax.main --config=configs/frontier_edges.py:scannet

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
    objective = objectives.FrontierEdges(prior=presets.PLANAR_EDGE_PRIOR)
    return presets.planar("frontier_edges", variant, objective, source)
