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
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(
        variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet(config="thesis_small")
    )
    make = presets.pick(variant, rooms=presets.rooms, scannet=presets.scannet)
    refine = presets.pick(variant, rooms=unet.DepthCNN(), scannet=unet.DepthCNN(width=32, levels=4))
    config = make(
        presets.name_of("two_phase", variant),
        objectives.FrontierSoftmax(),
        source,
        model=two_phase.TwoPhase(presets.pspnet(variant), objectives.DepthMSE(), refine),
        train=("depth", "frontier"),
    )
    config.init_from_parts = {
        "depth": f"runs/{presets.name_of('depth_mse', variant)}",
        "frontier": f"runs/{presets.name_of('depth_to_frontier', variant)}",
    }
    phase = config.phases[0]
    phase.learning_rate = presets.pick(variant, rooms=5e-4, scannet=1e-4)  # Both start trained.
    phase.steps = presets.pick(variant, rooms=800, scannet=phase.steps)
    return config
