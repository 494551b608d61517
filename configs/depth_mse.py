"""Depth from RGB by mean squared error (thesis, section 3.4.4.1).

    python -m psp_jax.main --config=configs/depth_mse.py

trains a narrow ResNet-18-PSPNet on the embedded rooms, at laptop size (2 CPU cores, 2026-11-23:
RMSE 0.415 m and 8.66 of 255 gray levels of 10 m on the test split, where the mean depth image has
0.594 m and 12.45), and

    python -m psp_jax.main --config=configs/depth_mse.py:scannet

a ResNet-101-PSPNet on ScanNet at 480x640, which has to be prepared first. The thesis reports a mean
absolute difference below 12 gray levels on its 981 test images, without saying their range.
"""

from data_builders import sources
from psp_jax import experiment, objectives
from psp_jax.models import segmenter


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms` or on `scannet`."""
    variants = {"rooms": _rooms, "scannet": _scannet}
    if variant not in variants:
        raise ValueError(f"variant {variant!r}: one of {', '.join(variants)} was expected")
    return variants[variant]()


def _rooms() -> experiment.Experiment:
    return experiment.Experiment(
        name="depth_mse",
        model=segmenter.Segmenter(depth=18, width=16, dropout=0.0),
        objective=objectives.DepthMSE(),
        data=experiment.Data(source=sources.EmbeddedRooms(), batch_size=4),
        phases=(
            experiment.Phase(
                steps=2400, learning_rate=2e-3, warmup_steps=40, final_share=0.01, clip_norm=1.0
            ),
        ),
    )


def _scannet() -> experiment.Experiment:
    return experiment.Experiment(
        name="depth_mse-scannet",
        model=segmenter.Segmenter(depth=101),
        objective=objectives.DepthMSE(),
        # The thesis fits 3 images on its 12 GB card.
        data=experiment.Data(source=sources.ScanNet(), batch_size=3, threads=16),
        phases=(experiment.Phase(steps=70_000, learning_rate=1e-3),),
        checkpoint_every=1000,
    )
