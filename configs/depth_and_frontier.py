"""Depth and frontiers of planar regions from RGB, by one network with outputs for both.

    python -m psp_jax.main --config=configs/depth_and_frontier.py

trains a narrow ResNet-18-PSPNet with a light decoder on the embedded rooms, at laptop size (one CPU
core, 2026-11-27: RMSE 0.390 m, where `depth_mse.py` has 0.418 m, boundary F 0.746 at 1 px and ARI
0.818, where as many SLIC regions of the colours have 0.423 and 0.319), and

    python -m psp_jax.main --config=configs/depth_and_frontier.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, built with `--config=planar`. It adds up the losses of
`depth_mse.py` and `frontier_edges.py`; `--config.objective.depth_weight` and
`--config.objective.frontier_weight` balance them.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(
        variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet(config="planar")
    )
    objective = objectives.DepthAndFrontier(
        depth=objectives.DepthMSE(),
        frontier=objectives.FrontierEdges(prior=presets.PLANAR_EDGE_PRIOR),
        frontier_weight=10.0,  # Makes both terms of the loss about as large.
    )
    return presets.planar("depth_and_frontier", variant, objective, source)
