"""psp_jax: predict from RGB alone how a depth image would be segmented into uniform regions."""

import os
import typing
from collections.abc import Sequence

from psp_jax.io.version import __version__ as __version__

if typing.TYPE_CHECKING:
    from psp_jax.predict import predictor


def load(
    model: str | os.PathLike | None = None,
    *,
    size: tuple[int, int] | str | None = None,
    tiles: bool = False,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> "predictor.Predictor":
    """Loads a model as a function of images: `psp_jax.load()("photo.jpg").save("predicted")`.

    The function takes a path, an array or a list of them, and returns a `results.Result`, or a list
    of them: depth, edges, classes and regions.

    Args:
        model: workdir of a run, or folder of an exported model; None for the one that ships.
        size: (height, width) with the number of pixels of the predictions, at the image's aspect
            ratio; "native" for those of the image; None for those of the training labels.
        tiles: whether the network sees overlapping tiles of the training size.
        flip: whether mirror images are averaged, too.
        scales: factors of the size whose predictions are averaged.

    Raises:
        FileNotFoundError: if the folder holds no model, or none ships.
        ValueError: if the model can't be used for images, or an option is out of its range.
    """
    from psp_jax.predict import predictor  # Takes seconds, which `import psp_jax` should not.

    return predictor.Predictor(model, size=size, tiles=tiles, flip=flip, scales=scales)
