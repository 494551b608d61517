"""RGB to depth to frontier classes, trained jointly (thesis, section 3.4.4.2 and figure 3.9).

    python -m psp_jax.main --config=configs/two_phase.py

restores both networks from `runs/depth_mse` and `runs/depth_to_frontier`, which have to be trained
first, and fine-tunes them together on the rooms (one CPU core, 2026-11-26: 0.416 bits per edge and
boundary F 0.652 at 1 px on the test split, where it starts from 0.438 and 0.601; the right class in
75.88 % of the pixels, as many as are interior; the RMSE of the depth in between rises by 0.10 m),
and

    python -m psp_jax.main --config=configs/two_phase.py:scannet

on ScanNet, from the runs of those configs' `:scannet`. The thesis reports no result for it.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import two_phase, unet


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    return presets.pick(variant, rooms=_rooms, scannet=_scannet)()


def _rooms() -> experiment.Experiment:
    config = presets.rooms(
        "two_phase",
        objectives.FrontierSoftmax(),
        sources.EmbeddedRooms(),
        model=two_phase.TwoPhase(presets.pspnet("rooms"), objectives.DepthMSE(), unet.DepthCNN()),
        train=("depth", "frontier"),
    )
    config.init_from_parts = {
        "depth": "runs/depth_mse",
        "frontier": "runs/depth_to_frontier",
    }
    config.phases[0].learning_rate = 5e-4  # Both networks start trained.
    config.phases[0].steps = 800
    return config


def _scannet() -> experiment.Experiment:
    config = presets.scannet(
        "two_phase",
        objectives.FrontierSoftmax(),
        sources.ScanNet(config="thesis_small"),
        model=two_phase.TwoPhase(
            presets.pspnet("scannet"),
            objectives.DepthMSE(),
            unet.DepthCNN(width=32, levels=4),
        ),
        train=("depth", "frontier"),
    )
    config.init_from_parts = {
        "depth": "runs/depth_mse-scannet",
        "frontier": "runs/depth_to_frontier-scannet",
    }
    config.phases[0].learning_rate = 1e-4
    return config
