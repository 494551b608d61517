"""Depth from a pretrained trunk that stays frozen (thesis, sections 2.3, 3.4.2 and 3.4.4.1).

    python -m psp_jax.main --config=configs/transfer.py

trains everything after the trunk on the rooms. The trunk, an EfficientNet-Lite2, is that of the
model that ships; its decoder is taken too, except for the last layer. `--config.init_from=imagenet`
takes an ImageNet trunk instead, `--config.init_from=` initial values, and
`"--config.phases[0].train=('trunk','pyramid','head','decoder')"` trains the trunk, too. After 300
steps the RMSE on the test split is 0.331 m, from ImageNet 0.432 m, and 0.655 m with all parts
trained from initial values (one CPU core, 2026-11-26; the mean depth image has 0.594 m).

    python -m psp_jax.main --config=configs/transfer.py:scannet

is the same on ScanNet at 480x640.
"""

from data_builders import sources
from psp_jax import experiment, objectives, presets
from psp_jax.models import decoder, efficientnet_lite, segmenter


def get_config(variant: str = "rooms") -> experiment.Experiment:
    """Returns the experiment on `rooms`, `scannet`, `prepared` or `prepared_full`."""
    source = presets.source(variant, rooms=sources.EmbeddedRooms(), scannet=sources.ScanNet())
    make = presets.pick(variant, rooms=presets.rooms, scannet=presets.scannet)
    coarse = segmenter.Segmenter(efficientnet_lite.EfficientNetLite(variant=2), dropout=0.0)
    config = make(
        presets.name_of("transfer", variant),
        objectives.DepthMSE(),
        source,
        decoder.TopDown(coarse, width=64, output_stride=4),
        train=("pyramid", "head", "decoder"),
    )
    config.init_from = "pretrained"
    return config
