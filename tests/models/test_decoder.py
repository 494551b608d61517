import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.models import decoder, parts, resnet, segmenter, two_phase, unet
from psp_jax.objectives import DepthMSE
from tests import untrained
from tests.batches import batch_of, partition

NARROW = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0)
NETWORKS = {
    "skips": decoder.FullResolution(NARROW, decoder_width=4),
    "sub-pixels": decoder.FullResolution(NARROW, decoder_width=0),
    "depth": unet.DepthCNN(width=4, levels=2),
    "two phases": two_phase.TwoPhase(NARROW, DepthMSE(), unet.DepthCNN(width=4, levels=2)),
}


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_as_large_as_the_image_whatever_its_size(name, size):
    model = NETWORKS[name].make(5)
    image = jax.ShapeDtypeStruct((1, *size, model.INPUT_CHANNELS), jnp.float32)
    output, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert output.shape == (1, *size, 5)
    top = {name for name in model.PARTS if "/" not in name}
    assert set(variables["params"]) == top


@pytest.mark.parametrize("name", NETWORKS)
def test_every_part_has_parameters(name):
    model = NETWORKS[name].make(5)
    image = jax.ShapeDtypeStruct((1, 32, 48, model.INPUT_CHANNELS), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    for part in model.PARTS:
        assert jax.tree.leaves(parts.split(params, (part,))[0]), part


def test_networks_get_their_inputs():
    batch = batch_of([partition()])
    assert NETWORKS["skips"].make(2).inputs(batch).shape == (*batch.depth.shape, 3)
    seen = NETWORKS["depth"].make(2).inputs(batch)
    np.testing.assert_array_equal(seen[..., 0], batch.filled_depth)


def test_the_second_phase_sees_the_depth_that_the_first_predicts():
    model = NETWORKS["two phases"].make(3)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 48, 3)), jnp.float32)
    variables = untrained.variables(model)
    first = NARROW.make(1)
    inner = {kind: tree["depth"] for kind, tree in variables.items()}
    depth = DepthMSE().predict(jax.jit(first.apply)(inner, image), (32, 48)).depth
    second = unet.DepthCNN(width=4, levels=2).make(3)
    inner = {kind: tree["frontier"] for kind, tree in variables.items()}
    expected = jax.jit(second.apply)(inner, jnp.asarray(depth)[..., None])
    np.testing.assert_allclose(jax.jit(model.apply)(variables, image), expected, atol=1e-5)


def test_the_pixels_around_an_output_matter_most_through_the_skips():
    """What outputs at 1/8 of the size can't do."""
    model = dataclasses.replace(NETWORKS["skips"], decoder_width=8).make(1)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 32, 3)), jnp.float32)
    variables = untrained.variables(model)
    slope = jax.jit(jax.grad(lambda x: model.apply(variables, x)[0, 9, 14, 0]))(image)
    strength = np.abs(slope[0]).sum(-1)
    assert strength[7:12, 12:17].max() > 5 * np.median(strength[strength > 0])


def test_wrong_fields_are_refused_by_name():
    with pytest.raises(ValueError, match="decoder_width=-1"):
        decoder.FullResolution(NARROW, decoder_width=-1).make(2)
    with pytest.raises(ValueError, match="levels=0"):
        unet.DepthCNN(levels=0).make(2)
    with pytest.raises(ValueError, match="coarse outputs"):
        softmax = segmenter.Segmenter(resnet.ResNet(10, width=4), softmax=True)
        decoder.FullResolution(softmax).make(2)


def test_an_auxiliary_head_without_a_loss_is_refused():
    network = two_phase.TwoPhase(
        segmenter.Segmenter(resnet.ResNet(10, width=4), auxiliary=True), DepthMSE(), unet.DepthCNN()
    )
    with pytest.raises(ValueError, match="model.depth.auxiliary=True"):
        network.make(16)
