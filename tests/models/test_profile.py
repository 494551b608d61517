from typing import Any

import jax
import numpy as np
import pytest

from psp_jax.models import profile, resnet, segmenter, two_phase, unet
from psp_jax.models.precision import Remat
from psp_jax.objectives import DepthMSE

IMAGE = jax.ShapeDtypeStruct((1, 64, 96, 3), np.float32)


def profiled(config, channels=16, image=IMAGE):
    model: Any = config.make(channels)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return model, variables, profile.profile(model, variables, image)


def test_parts_have_their_shapes_and_operations():
    *_, parts = profiled(segmenter.Segmenter(resnet.ResNet(10, width=16)))
    assert list(parts)[:4] == ["trunk", "pyramid", "head", "classifier"]
    assert parts["trunk"].output == (8, 12, 128)
    assert parts["pyramid"].output == (6, 6, 32)
    assert parts["head"].output == (8, 12, 128)
    assert parts["classifier"].output == (8, 12, 16)
    # A 1x1 convolution: inputs times outputs, a multiplication and an addition each.
    assert parts["classifier"].gflop == pytest.approx(2 * 8 * 12 * 128 * 16 / 1e9)


@pytest.mark.parametrize("remat", [Remat.NONE, Remat.BLOCKS])
def test_all_parts_together_are_what_xla_counts(remat):
    image = jax.ShapeDtypeStruct((1, 480, 640, 3), np.float32)  # Traced, never computed.
    config = segmenter.Segmenter(resnet.ResNet(10, 16), remat=remat)
    model, variables, parts = profiled(config, image=image)
    lowered: Any = jax.jit(model.apply).lower(variables, image)
    total = sum(part.gflop for part in parts.values())
    # XLA leaves padding out, and counts what is neither a convolution nor a product.
    assert total == pytest.approx(lowered.cost_analysis()["flops"] / 1e9, rel=0.06)


def test_both_networks_of_two_phases_are_parts():
    coarse = segmenter.Segmenter(resnet.ResNet(10, width=4))
    *_, parts = profiled(two_phase.TwoPhase(coarse, DepthMSE(), unet.DepthCNN(width=4, levels=2)))
    assert parts["depth"].output == (8, 12, 1) and parts["frontier"].output == (64, 96, 16)
    assert all(parts[name].gflop > 0 for name in ("depth", "frontier"))
