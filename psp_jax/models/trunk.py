"""The interface between a PSPNet and its trunk, the network that computes its feature maps."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.models.architecture import IMAGENET_MEAN, IMAGENET_STD, Architecture, ChannelOrder
from psp_jax.models.precision import Remat


class Trunk(Protocol):
    """A trunk as a field of a config."""

    def make(self, architecture: Architecture, remat: Remat) -> Any:
        """Builds the flax module; it has the attributes of `TrunkModule`.

        Args:
            architecture: the architecture variant of the PSPNet, for trunks that have several.
            remat: what the stages keep for the gradient.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        ...


class TrunkModule(Protocol):
    """The flax module of a trunk.

    It maps `[B, H, W, C]`, ImageNet-normalised in the colours, to the outputs of its stages by
    name: `trunk(image, train=parts)`. Each stage is a submodule of that name, in train mode if
    `parts` covers the name. A map of stride s has `ceil(H / s)` rows and `ceil(W / s)` columns.
    """

    @property
    def STRIDES(self) -> Mapping[str, int]:
        """Pixels of the image per cell of each stage, first to last; names are parts."""
        ...

    @property
    def head_features(self) -> int:
        """Channels of the head of a PSPNet on the last stage."""
        ...


def stages_by_stride(strides: Mapping[str, int]) -> dict[int, str]:
    """Returns the last stage of every stride, from the finest to the coarsest."""
    return {stride: name for name, stride in strides.items()}


def adapt(image: jax.Array, architecture: Architecture) -> jax.Array:
    """Converts ImageNet-normalised RGB to the colours that the weights were trained on.

    Channels after the third, such as depth, stay the same. Nothing changes if the weights were
    trained on ImageNet-normalised RGB, or if there are fewer than three channels.
    """
    expected = (architecture.channel_order, architecture.mean, architecture.std)
    if expected == (ChannelOrder.RGB, IMAGENET_MEAN, IMAGENET_STD) or image.shape[-1] < 3:
        return image
    factor = np.array(IMAGENET_STD) / architecture.std
    offset = (np.array(IMAGENET_MEAN) - architecture.mean) / architecture.std
    colours = image[..., :3] * factor.astype(image.dtype) + offset.astype(image.dtype)
    if architecture.channel_order == ChannelOrder.BGR:
        colours = colours[..., ::-1]
    return jnp.concatenate([colours, image[..., 3:]], axis=-1)
