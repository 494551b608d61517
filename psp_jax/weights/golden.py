"""What weights make of fixed images, kept beside them so that a later day can compare.

The file holds the images too: who has the original framework can put its logits in their place.
"""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from psp_jax.models import resnet
from psp_jax.state import Variables
from psp_jax.weights import converted
from psp_jax.weights.archive import DamagedError
from psp_jax.weights.network import Network

SIZES = ((97, 129), (96, 128))  # 8k + 1, where all poolings agree, and 8k, where they do not.
SEED = 0
TOLERANCE = 1e-4  # Of the largest absolute logit.
AGREEMENT = 0.9999  # Share of pixels with the same class.


def path_beside(path: pathlib.Path) -> pathlib.Path:
    """Returns where the golden arrays of a weight file are."""
    return path.with_suffix(".golden.safetensors")


def write(path: pathlib.Path, network: Network, variables: Variables) -> pathlib.Path:
    """Writes the outputs for fixed images beside a weight file and returns where.

    Of a trunk alone they are those of its last stage.
    """
    random = np.random.RandomState(SEED)  # NumPy promises this stream forever.
    forward = _forward(network, variables)
    arrays = {}
    for index, size in enumerate(SIZES):
        image = random.standard_normal((1, *size, network.inputs)).astype(np.float32)
        logits = forward(image)
        classes = logits.argmax(-1).astype(np.int32)
        arrays |= {f"image{index}": image, f"logits{index}": logits, f"classes{index}": classes}
    target = path_beside(path)
    converted.save(target, arrays)
    return target


def compare(path: pathlib.Path, network: Network, variables: Variables) -> tuple[list[str], bool]:
    """Runs the stored images and holds the outputs against the stored ones.

    Returns:
        A line for every image, and whether all agree.

    Raises:
        ValueError: if the golden arrays are damaged or of another network.
        FileNotFoundError: if there are none.
    """
    target = path_beside(path)
    if not target.exists():
        raise FileNotFoundError(f"{target} is missing; verify with --golden writes it")
    try:
        arrays = converted.read_raw(target).arrays
    except DamagedError as error:
        raise ValueError(f"{target} is refused: {error}") from None
    forward = _forward(network, variables)
    lines, agree = [], True
    for index in range(sum(name.startswith("image") for name in arrays)):
        names = [f"{name}{index}" for name in ("image", "logits", "classes")]
        if not arrays.keys() >= set(names):
            raise ValueError(f"{target} has not all of {', '.join(names)}")
        image, expected, classes = (arrays[name] for name in names)
        if image.ndim != 4 or image.shape[-1] != network.inputs:
            raise ValueError(
                f"{target}: {names[0]} is {image.shape}, not of {network.inputs} inputs"
            )
        logits = forward(image)
        if logits.shape != expected.shape or logits.shape[:-1] != classes.shape:
            raise ValueError(
                f"{target} is of another network: its outputs are {expected.shape}, these "
                f"{logits.shape}"
            )
        difference = float(np.abs(logits - expected).max() / np.abs(expected).max())
        same = float((logits.argmax(-1) == classes).mean())
        height, width = image.shape[1:3]
        lines.append(
            f"{height}x{width}: largest difference {difference:.1e} of the largest output, same "
            f"class at {same:.4%} of the pixels"
        )
        agree = agree and difference <= TOLERANCE and same >= AGREEMENT
    return lines, agree and bool(lines)


def _forward(network: Network, variables: Variables) -> Callable[[np.ndarray], np.ndarray]:
    if network.channels:
        model, inside = network.make(), variables
    else:
        model = resnet.ResNet(network.depth, network.width, network.architecture)
        inside = {collection: tree["trunk"] for collection, tree in variables.items()}
    apply = jax.jit(model.apply)

    def forward(image: np.ndarray) -> np.ndarray:
        with jax.default_matmul_precision("highest"):
            output = apply(inside, image)
        return np.asarray(output if network.channels else output["stage4"])

    return forward
