"""Settings of every convolution of a network, to check the settings that files state."""

import dataclasses

import jax
import numpy as np

from psp_jax.models import layers, resnet, segmenter
from psp_jax.models.architecture import Architecture
from psp_jax.weights.archive import Setting


def convolutions(depth: int, architecture: Architecture) -> dict[str, Setting]:
    """Returns the settings of every convolution by its path."""
    trunk = resnet.ResNet(depth)
    model = segmenter.Segmenter(trunk, architecture=architecture, auxiliary=True).make(1)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    settings = layers.convolution_settings(model, image) | {"head/conv": (3, 1, 1)}
    return {
        path: Setting(size, stride, dilation, padding=size // 2 * dilation)
        for path, (size, stride, dilation) in settings.items()
    }


def derive(settings: dict[str, Setting], default: Architecture) -> Architecture:
    """Returns `default` with the stride and dilation of a file's settings by our paths."""
    changes: dict[str, bool] = {}
    reduce = settings.get("trunk/stage2/block1/conv1", Setting())
    middle = settings.get("trunk/stage2/block1/conv2", Setting())
    if 2 in (reduce.stride, middle.stride) and "trunk/stage2/block1/conv3" in settings:
        changes["stride_on_reduce"] = reduce.stride == 2
    for path, full in (("trunk/stage3/block1/conv2", 2), ("trunk/stage4/block1/conv2", 4)):
        dilation = settings.get(path, Setting()).dilation
        if dilation in (full // 2, full):
            changes["contracted_dilation"] = dilation != full
    return dataclasses.replace(default, **changes)


def differences(settings: dict[str, Setting], depth: int, architecture: Architecture) -> list[str]:
    """Lists the settings of a file, by our paths, that are not those of an architecture variant."""
    plans = convolutions(depth, architecture)
    return [
        f"{path} has {name} {value}, expected {expected}"
        for path, setting in settings.items()
        for name, value in dataclasses.asdict(setting).items()
        if None not in (value, expected := getattr(plans.get(path, Setting()), name))
        and value != expected
    ]
