"""The settings that experiments in `configs/` share.

Every experiment has four variants. `rooms` takes minutes on a laptop, and `scannet` is the thesis's
scale; `prepared` and `prepared_full` are the same on a data set of any recordings.
"""

from typing import TypeVar

from psp_jax import experiment, models, objectives, prepared
from psp_jax.models import decoder, resnet, segmenter

COARSE_PARTS = ("trunk", "pyramid", "head", "classifier")
DECODER_PARTS = ("trunk", "pyramid", "head", "decoder")
# In the rooms, 2 % of the edges are cut by planar frontiers, and 7 % of the pixels are at one.
PLANAR_EDGE_PRIOR, PLANAR_PIXEL_PRIOR = 0.02, 0.07

Choice = TypeVar("Choice")


# The variants on prepared data sets, and the variant whose settings each has.
PREPARED = {"prepared": "rooms", "prepared_full": "scannet"}


def pick(variant: str, **choices: Choice) -> Choice:
    """Returns the choice of that name; for a prepared data set, that of its scale.

    Raises:
        ValueError: if there is none.
    """
    if variant in choices:
        return choices[variant]
    if variant in PREPARED:
        return choices[PREPARED[variant]]
    raise ValueError(
        f"variant: expected one of {', '.join((*choices, *PREPARED))}, got {variant!r}"
    )


def source(variant: str, **choices: experiment.Source) -> experiment.Source:
    """Returns the data set of a variant; a prepared one is named on the command line."""
    return prepared.Prepared() if variant in PREPARED else pick(variant, **choices)


def name_of(name: str, variant: str) -> str:
    """Returns the name of an experiment, which is that of its workdir too."""
    return name if variant == "rooms" else f"{name}-{variant}"


def depth(
    name: str, variant: str, objective: objectives.Objective, source: experiment.Source
) -> experiment.Experiment:
    """Makes an experiment that trains a PSPNet on depth."""
    make = pick(variant, rooms=rooms, scannet=scannet)
    return make(name_of(name, variant), objective, source, pspnet(variant))


def planar(
    name: str, variant: str, objective: objectives.Objective, source: experiment.Source
) -> experiment.Experiment:
    """Makes an experiment on planar regions, with a decoder to full resolution."""
    make = pick(variant, rooms=rooms, scannet=scannet)
    width = pick(variant, rooms=16, scannet=decoder.FullResolution.decoder_width)
    model = decoder.FullResolution(pspnet(variant), decoder_width=width)
    config = make(name_of(name, variant), objective, source, model, DECODER_PARTS)
    config.data.labels = "planar"
    return config


def frozen_trunk(
    name: str,
    variant: str,
    objective: objectives.Objective,
    source: experiment.Source,
    train: tuple[str, ...],
) -> experiment.Experiment:
    """Makes an experiment on the thesis's frontier classes that trains only the last layers.

    At the size of the rooms it starts from the run of `depth_mse` on the same data; at ScanNet's,
    `init_from` is left to the user.
    """
    make = pick(variant, rooms=rooms, scannet=scannet)
    model = pspnet(variant, softmax=True)
    config = make(name_of(name, variant), objective, source, model, train)
    config.init_from = pick(variant, rooms=f"runs/{name_of('depth_mse', variant)}", scannet="")
    config.data.batch_size = 4
    return config


def pspnet(variant: str, *, softmax: bool = False) -> segmenter.Segmenter:
    """Makes the narrow ResNet-18-PSPNet of the rooms, or the ResNet-101-PSPNet of the thesis.

    With `softmax`, the thesis's softmax classifier follows the classifier.
    """
    narrow = segmenter.Segmenter(resnet.ResNet(18, width=16), dropout=0.0, softmax=softmax)
    wide = segmenter.Segmenter(resnet.ResNet(101), softmax=softmax)
    return pick(variant, rooms=narrow, scannet=wide)


def rooms(
    name: str,
    objective: objectives.Objective,
    source: experiment.Source,
    model: models.Network,
    train: tuple[str, ...] = COARSE_PARTS,
) -> experiment.Experiment:
    """Makes an experiment on the rooms: 2400 steps of Adam, from random initialisation."""
    return experiment.Experiment(
        name=name,
        model=model,
        objective=objective,
        data=experiment.Data(source=source, batch_size=4),
        phases=(
            experiment.Phase(
                steps=2400,
                train=train,
                learning_rate=2e-3,
                warmup_steps=40,
                final_lr_fraction=0.01,
                clip_norm=1.0,
            ),
        ),
    )


def scannet(
    name: str,
    objective: objectives.Objective,
    source: experiment.Source,
    model: models.Network,
    train: tuple[str, ...] = COARSE_PARTS,
) -> experiment.Experiment:
    """Makes an experiment on ScanNet at 480x640 with the thesis's settings: Adam at 1e-3."""
    return experiment.Experiment(
        name=name,
        model=model,
        objective=objective,
        # The thesis fits 3 images on its 12 GB card.
        data=experiment.Data(source=source, batch_size=3, threads=16),
        phases=(experiment.Phase(steps=70_000, train=train, learning_rate=1e-3),),
        checkpoint_every=1000,
        validate_every=10_000,  # A quarter of ScanNet's scans is for validation.
    )
