"""What the experiments in `configs/` share, so that each says only what is its own."""

from collections.abc import Callable

from psp_jax import experiment, models, objectives
from psp_jax.models import segmenter


def pick(variant: str, **variants: Callable[[], experiment.Experiment]) -> experiment.Experiment:
    """Makes the experiment of that variant.

    Raises:
        ValueError: if there is none of that name.
    """
    if variant not in variants:
        raise ValueError(f"variant {variant!r}: one of {', '.join(variants)} was expected")
    return variants[variant]()


COARSE = ("trunk", "pyramid", "head", "classifier")
FULL_RESOLUTION = ("trunk", "pyramid", "head", "decoder")
# Shares of the edges that planar frontiers cut, and of the pixels beside them, in the rooms.
PLANAR_EDGES, PLANAR_PIXELS = 0.02, 0.07


def rooms(
    name: str,
    objective: objectives.Objective,
    source: experiment.Source,
    *,
    model: models.Network | None = None,
    train: tuple[str, ...] = COARSE,
    steps: int = 2400,
) -> experiment.Experiment:
    """A narrow ResNet-18-PSPNet, or another model, from random values: minutes on a laptop."""
    return experiment.Experiment(
        name=name,
        model=narrow() if model is None else model,
        objective=objective,
        data=experiment.Data(source=source, batch_size=4),
        phases=(
            experiment.Phase(
                steps=steps,
                train=train,
                learning_rate=2e-3,
                warmup_steps=40,
                final_lr_fraction=0.01,
                clip_norm=1.0,
            ),
        ),
    )


def narrow(*, softmax: bool = False) -> segmenter.Segmenter:
    """The PSPNet of the rooms."""
    return segmenter.Segmenter(depth=18, width=16, dropout=0.0, softmax=softmax)


def scannet(
    name: str,
    objective: objectives.Objective,
    source: experiment.Source,
    *,
    model: models.Network | None = None,
    train: tuple[str, ...] = COARSE,
) -> experiment.Experiment:
    """The thesis's experiments: a ResNet-101-PSPNet at 480x640, Adam at 1e-3."""
    return experiment.Experiment(
        name=f"{name}-scannet",
        model=segmenter.Segmenter(depth=101) if model is None else model,
        objective=objective,
        # The thesis fits 3 images on its 12 GB card.
        data=experiment.Data(source=source, batch_size=3, threads=16),
        phases=(experiment.Phase(steps=70_000, train=train, learning_rate=1e-3),),
        checkpoint_every=1000,
        validate_every=10_000,  # A fifth of ScanNet is for validation.
    )
