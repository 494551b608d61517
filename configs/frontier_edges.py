"""Frontiers of planar regions from RGB at full size, one output for each edge between pixels.

    python -m psp_jax.main --config=configs/frontier_edges.py

trains a narrow ResNet-18-PSPNet with a light decoder on the embedded rooms, at laptop size (2 CPU
cores, 2026-11-26: boundary F 0.793 at 1 px and ARI 0.849 on the test split, where as many SLIC
regions of the colours have 0.424 and 0.296; with `--config.objective.prior=0.5`,
at even odds, it had been 0.765 and 0.822), and

    python -m psp_jax.main --config=configs/frontier_edges.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, built with `--config=planar`. On the rooms
`--config.data.labels=seeds` learns the thesis's superpixels instead.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import decoder, segmenter


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)


def _rooms() -> experiment.Experiment:
    config = presets.rooms(
        "frontier_edges",
        objectives.FrontierEdges(prior=presets.PLANAR_EDGES),
        sources.EmbeddedRooms(),
        model=decoder.FullResolution(presets.narrow(), decoder_width=16),
        train=presets.FULL_RESOLUTION,
    )
    config.data.labels = "planar"
    return config


def _scannet() -> experiment.Experiment:
    config = presets.scannet(
        "frontier_edges",
        objectives.FrontierEdges(prior=presets.PLANAR_EDGES),
        sources.ScanNet(config="planar"),
        model=decoder.FullResolution(segmenter.Segmenter(depth=101)),
        train=presets.FULL_RESOLUTION,
    )
    config.data.labels = "planar"
    return config
