"""Outputs for fixed images, stored next to a weight file to compare with later.

The file holds the images too. With the original framework at hand, its logits can replace ours.
"""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from psp_jax.models import resnet
from psp_jax.state import Variables
from psp_jax.weights import converted
from psp_jax.weights.archive import DamagedError
from psp_jax.weights.network import NetworkSpec

SIZES = ((97, 129), (96, 128))  # 8k + 1, where both roundings of the pooling agree, and 8k.
SEED = 0
TOLERANCE = 1e-4  # Share of the largest absolute logit.
AGREEMENT = 0.9999  # Share of pixels with the same class.


def path_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of the golden outputs of a weight file."""
    return path.with_suffix(".golden.safetensors")


def write(path: pathlib.Path, network: NetworkSpec, variables: Variables) -> pathlib.Path:
    """Writes the outputs for fixed images next to a weight file and returns their path.

    The outputs of a trunk are those of its last stage.
    """
    random = np.random.RandomState(SEED)  # NumPy keeps this stream of numbers forever.
    forward = _forward(network, variables)
    arrays = {}
    for index, size in enumerate(SIZES):
        image = random.standard_normal((1, *size, network.inputs)).astype(np.float32)
        logits = forward(image)
        classes = logits.argmax(-1).astype(np.int32)
        arrays |= {f"image{index}": image, f"logits{index}": logits, f"classes{index}": classes}
    converted.save(path_of(path), arrays)
    return path_of(path)


def compare(
    path: pathlib.Path, network: NetworkSpec, variables: Variables
) -> tuple[list[str], bool]:
    """Computes the outputs for the stored images and compares them with the stored ones.

    Returns:
        A line for every image, and whether all agree.

    Raises:
        ValueError: if the golden outputs are damaged or of another network.
        FileNotFoundError: if there are none.
    """
    target = path_of(path)
    if not target.exists():
        raise FileNotFoundError(f"{target} is missing; `verify --golden` writes it")
    try:
        arrays = converted.read_raw(target).arrays
    except DamagedError as error:
        raise ValueError(f"{target} is refused: {error}") from None
    forward = _forward(network, variables)
    lines, agree = [], True
    for index in range(sum(name.startswith("image") for name in arrays)):
        names = [f"{name}{index}" for name in ("image", "logits", "classes")]
        if not arrays.keys() >= set(names):
            raise ValueError(f"{target}: expected the arrays {', '.join(names)}")
        image, expected, classes = (arrays[name] for name in names)
        if image.ndim != 4 or image.shape[-1] != network.inputs:
            raise ValueError(
                f"{target}: expected an image with {network.inputs} channels, got {image.shape}"
            )
        logits = forward(image)
        if logits.shape != expected.shape or logits.shape[:-1] != classes.shape:
            raise ValueError(
                f"{target} is of another network: its outputs are {expected.shape}, expected "
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


def _forward(network: NetworkSpec, variables: Variables) -> Callable[[np.ndarray], np.ndarray]:
    if network.channels:
        model, own = network.make(), variables
    else:
        model = resnet.ResNetTrunk(network.depth, network.width, network.architecture)
        own = {collection: tree["trunk"] for collection, tree in variables.items()}
    apply = jax.jit(model.apply)

    def forward(image: np.ndarray) -> np.ndarray:
        with jax.default_matmul_precision("highest"):
            output = apply(own, image)
        return np.asarray(output if network.channels else output["stage4"])

    return forward
