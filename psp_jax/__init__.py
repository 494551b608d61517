"""psp_jax: predict from RGB alone how a depth image would be segmented into uniform regions."""

import pathlib
import typing

from psp_jax.io.version import __version__ as __version__

if typing.TYPE_CHECKING:
    from psp_jax.predict import predictor


def load(
    workdir: str | pathlib.Path, *, size: tuple[int, int] | None = None
) -> "predictor.Predictor":
    """Restores a run as a function of an image: `psp_jax.load("runs/depth_mse")(image)`.

    The function returns a `predictor.DecodedPrediction`: depth, edges, classes and regions.

    Args:
        workdir: folder of the run.
        size: (height, width) of the training images, where the run can't tell.

    Raises:
        FileNotFoundError: if the folder holds no run or no finished checkpoint.
        ValueError: if the run can't be used for images.
    """
    from psp_jax.predict import predictor  # Takes seconds, which `import psp_jax` should not.

    return predictor.Predictor(workdir, size=size)
