"""Frontiers of planar regions from RGB, one output for each edge between two pixels.

python -m psp_jax.main --config=configs/frontier_edges.py
"""

from data_builders import sources
from psp_jax import experiment, objectives
from psp_jax.models import decoder, segmenter


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    variants = {"rooms": _rooms}
    if variant not in variants:
        raise ValueError(f"variant {variant!r}: one of {', '.join(variants)} was expected")
    return variants[variant]()


def _rooms() -> experiment.Experiment:
    return experiment.Experiment(
        name="frontier_edges",
        model=decoder.FullResolution(
            segmenter.Segmenter(depth=18, width=16, dropout=0.0), decoder_width=16
        ),
        objective=objectives.FrontierEdges(),
        data=experiment.Data(source=sources.EmbeddedRooms(), labels="planar", batch_size=4),
        phases=(
            experiment.Phase(
                steps=2400,
                train=("trunk", "pyramid", "head", "decoder"),
                learning_rate=2e-3,
                warmup_steps=40,
                final_share=0.01,
                clip_norm=1.0,
            ),
        ),
    )
