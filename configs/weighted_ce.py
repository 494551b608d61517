"""Frontier classes with a class-weighted cross-entropy (thesis, sections 3.4.3 and 4.3.3).

    python -m psp_jax.main --config=configs/weighted_ce.py

is `finetune_head.py` with interior pixels weighted so that they count as much as all frontier
pixels together; it starts from `runs/depth_mse`, which has to be trained first (2 CPU cores,
2026-11-26: the right class in 75.88 % of the pixels of the test split, as many as are interior). At
ScanNet scale,

    python -m psp_jax.main --config=configs/weighted_ce.py:scannet

starts from a published PSPNet, given by `--config.init_from=FILE`. The thesis reports no
improvement; for its last run, `--config.objective.interior_weight=0`, it reports 3.21 % training
accuracy (on the rooms: 5.29 % of the test split, with every pixel classified as frontier).
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets

# Fraction of frontier pixels over fraction of interior pixels.
ROOMS_WEIGHT = 0.245 / 0.755  # SEEDS on the rooms.
THESIS_WEIGHT = 0.1428 / 0.8572


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(
        variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet(config="thesis_small")
    )
    weight = presets.pick(variant, rooms=ROOMS_WEIGHT, scannet=THESIS_WEIGHT)
    objective = objectives.FrontierSoftmax(interior_weight=weight)
    train = ("head", "classifier", "softmax")
    return presets.frozen_trunk("weighted_ce", variant, objective, source, train)
