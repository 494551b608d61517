"""Depth and frontiers of planar regions from RGB, by one network with outputs for both.

    python -m psp_jax.main --config=configs/depth_and_frontier.py

trains a narrow ResNet-18-PSPNet with a light decoder on the embedded rooms, at laptop size (2 CPU
cores, 2026-11-26: RMSE 0.408 m, where `depth_mse.py` has 0.418 m, boundary F 0.733 at 1 px and ARI
0.770, where as many SLIC regions of the colours have 0.423 and 0.317), and

    python -m psp_jax.main --config=configs/depth_and_frontier.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, built with `--config=planar`. It is `frontier_edges.py`
with one more output, depth, that is learned as in `depth_mse.py`; `--config.objective.depth_weight`
and `--config.objective.frontier_weight` balance the two.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import decoder, segmenter


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _objective() -> objectives.DepthAndFrontier:
    return objectives.DepthAndFrontier(
        depth=objectives.DepthMSE(),
        frontier=objectives.FrontierEdges(prior=presets.PLANAR_EDGES),
        frontier_weight=10.0,  # Makes them as large a part of the loss as depth.
    )


def _rooms() -> experiment.Experiment:
    config = presets.rooms(
        "depth_and_frontier",
        _objective(),
        sources.EmbeddedRooms(),
        model=decoder.FullResolution(presets.narrow(), decoder_width=16),
        train=presets.FULL_RESOLUTION,
    )
    config.data.labels = "planar"
    return config


def _scannet() -> experiment.Experiment:
    config = presets.scannet(
        "depth_and_frontier",
        _objective(),
        sources.ScanNet(config="planar"),
        model=decoder.FullResolution(segmenter.Segmenter(depth=101)),
        train=presets.FULL_RESOLUTION,
    )
    config.data.labels = "planar"
    return config
