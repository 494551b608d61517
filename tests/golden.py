"""Small arrays that PyTorch made, so that numbers stay checked where it is not installed.

`python -m tests.parity.golden` writes them; tests/parity checks that they are still what it makes.
"""

import pathlib

import numpy as np

from psp_jax.models import architecture
from psp_jax.weights.network import NetworkSpec

FOLDER = pathlib.Path(__file__).parent / "golden"
LOGITS = FOLDER / "pspnet_logits.npz"  # By variant; of `published.make_leaves` and `image`.
EFFICIENTNET = FOLDER / "efficientnet_lite0.npz"  # Names, shapes and sums of a published file.

VARIANTS = {
    "semseg": architecture.SEMSEG,
    "caffe_50": architecture.CAFFE_50,
    "mmsegmentation": architecture.MMSEGMENTATION,
    "torchvision": architecture.TORCHVISION_TRUNK,
}


def network(variant: str) -> NetworkSpec:
    """A narrow network of 50 layers and 5 classes."""
    return NetworkSpec(50, 4, 3, 5, False, VARIANTS[variant])


def image() -> np.ndarray:
    """`[1, 64, 88, 3]`, ImageNet-normalised RGB; 8k, where floor and ceil pooling differ."""
    return np.random.RandomState(7).standard_normal((1, 64, 88, 3)).astype(np.float32)
