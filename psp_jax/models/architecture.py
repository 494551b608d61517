"""Architecture variants: the choices in which published PSPNets differ.

Most of them do not change the shapes of the weights. Weights of another stride, dilation or order
of branches would load without an error and give wrong outputs (full instead of contracted dilation
changes the logits of ResNet-50 by a fifth). So every choice is a field, and the published
combinations have names.
"""

import dataclasses
import enum

import numpy as np

from psp_jax.batch import Array
from psp_jax.io import ranges

# RGB mean and standard deviation of ImageNet on the 0 to 255 scale.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def normalise(rgb: Array) -> Array:
    """Normalises `[..., 3]` uint8 RGB to float32 with the mean and deviation of ImageNet."""
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    return (rgb.astype(np.float32) - mean) / std


class Modality(enum.StrEnum):
    """Input of a network."""

    RGB = "RGB"
    DEPTH = "depth"  # Filled, in metres.
    RGBD = "RGB and depth"

    @property
    def channels(self) -> int:
        """Number of input channels."""
        return {Modality.RGB: 3, Modality.DEPTH: 1, Modality.RGBD: 4}[self]


class ChannelOrder(enum.StrEnum):
    """Order of the colours that the weights were trained on."""

    RGB = "RGB"
    BGR = "BGR"


@dataclasses.dataclass(frozen=True)
class StemConvolution:
    """One convolution of the stem.

    Attributes:
        widths: output channels as a multiple of the trunk's width.
        size: rows and columns of the kernel.
        stride: pixels from one output to the next.
    """

    widths: float = ranges.number(above=0)
    size: int = ranges.number(least=1)
    stride: int = ranges.number(least=1)


DEEP_STEM = (StemConvolution(1, 3, 2), StemConvolution(1, 3, 1), StemConvolution(2, 3, 1))
NARROW_DEEP_STEM = (
    StemConvolution(0.5, 3, 2),
    StemConvolution(0.5, 3, 1),
    StemConvolution(1, 3, 1),
)
PLAIN_STEM = (StemConvolution(1, 7, 2),)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An architecture variant; the defaults are those of hszhao/semseg.

    Attributes:
        stem: convolutions before the first pooling.
        stride_on_reduce: whether the stride of a bottleneck is in its first 1x1 convolution, not in
            its 3x3.
        contracted_dilation: whether the first block of a dilated stage has the dilation of the
            previous stage, not that of the other blocks.
        ceil_pool: whether the pooling after the stem rounds its size up. It makes no difference
            for images of 8k + 1 rows and columns.
        align_corners: whether pyramid branches are resized with aligned corners. Losses and
            predictions always resize the outputs with aligned corners; the class maps of
            mmsegmentation need `resampling.resize(output, size, align_corners=False)`.
        bins: cells per side of the pyramid's branches, in the order of their concatenation.
        dropout_of_channels: whether dropout drops whole channels, not single values.
        epsilon: added to the variance in batch norms.
        momentum: share of the running statistics that a step keeps; 1 - PyTorch's momentum.
        channel_order: order of the colours that the weights were trained on. The input of the
            network is always ImageNet-normalised RGB; the network converts it.
        mean: mean that was subtracted in training, 0 to 255, in the order R, G, B.
        std: standard deviation that was divided by in training, 0 to 255, in the order R, G, B.
    """

    stem: tuple[StemConvolution, ...] = DEEP_STEM
    stride_on_reduce: bool = False
    contracted_dilation: bool = False
    ceil_pool: bool = False
    align_corners: bool = True
    bins: tuple[int, ...] = ranges.number((1, 2, 3, 6), least=1)
    dropout_of_channels: bool = True
    epsilon: float = ranges.number(1e-5, above=0)
    momentum: float = ranges.number(0.9, least=0, below=1)
    channel_order: ChannelOrder = ChannelOrder.RGB
    mean: tuple[float, float, float] = ranges.number(IMAGENET_MEAN, least=0, most=255)
    std: tuple[float, float, float] = ranges.number(IMAGENET_STD, above=0)

    def __post_init__(self):
        """Converts the channel order, which files store as text."""
        object.__setattr__(self, "channel_order", ChannelOrder(self.channel_order))


def differences(one: Architecture, other: Architecture) -> list[str]:
    """Lists the fields in which two variants differ, as `name: first value against second`."""
    return [
        f"{field.name}: {getattr(one, field.name)} against {getattr(other, field.name)}"
        for field in dataclasses.fields(Architecture)
        if getattr(one, field.name) != getattr(other, field.name)
    ]


SEMSEG = Architecture()  # hszhao/semseg, ResNet-50, 101 and 152.
CAFFE_101 = Architecture(  # hszhao/PSPNet on VOC 2012 and Cityscapes.
    ceil_pool=True,
    bins=(6, 3, 2, 1),
    dropout_of_channels=False,
    momentum=0.95,
    channel_order=ChannelOrder.BGR,
    mean=(123.68, 116.779, 103.939),
    std=(1.0, 1.0, 1.0),
)
CAFFE_50 = dataclasses.replace(CAFFE_101, stride_on_reduce=True)  # hszhao/PSPNet on ADE20K.
MMSEGMENTATION = Architecture(  # PSPNet r50-d8 and r101-d8 ("v1c" trunk).
    stem=NARROW_DEEP_STEM, contracted_dilation=True, align_corners=False
)
EFFICIENTNET_LITE = Architecture(  # Batch norms and inputs of TensorFlow's EfficientNet-Lite.
    epsilon=1e-3, momentum=0.99, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)
)
TORCHVISION_TRUNK = Architecture(  # torchvision's and timm's ResNets with output stride 8.
    stem=PLAIN_STEM, contracted_dilation=True
)
