import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import state
from psp_jax.models import decoder, resnet, segmenter
from psp_jax.models.precision import Precision, Remat
from tests.batches import make_batch

TRAIN = ("trunk", "pyramid", "head", "classifier")


def make(precision=Precision.FLOAT32, remat=Remat.NONE) -> Any:
    # Channels are dropped, so that the gradient would see it if others were dropped again.
    network = segmenter.Segmenter(
        resnet.ResNet(10, width=8), dropout=0.5, precision=precision, remat=remat, softmax=True
    )
    return network.make(3)


@pytest.fixture(scope="module")
def setting():
    rng = np.random.default_rng(0)
    batch = make_batch(rng.uniform(1, 4, (2, 32, 48)))
    batch.image[:] = rng.integers(0, 256, batch.image.shape)
    return state.initial_variables(make(), (32, 48, 3), 0), batch


def loss_of(params, stats, batch, *, model, train=TRAIN):
    output, updated = model.apply(
        {"params": params, "batch_stats": stats},
        model.inputs(batch),
        train=train,
        rngs={"dropout": jax.random.key(1)},
        mutable=["batch_stats"],
    )
    return jnp.square(output - 1).mean(), updated["batch_stats"]


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def kept_bytes(model, variables, batch, train):
    """Bytes of the residuals with an axis for the batch; no mode spares the parameters."""

    def pull(params, stats, batch):
        loss = functools.partial(loss_of, stats=stats, batch=batch, model=model, train=train)
        return jax.vjp(loss, params, has_aux=True)[1]

    residuals = jax.eval_shape(pull, variables["params"], variables["batch_stats"], batch)
    images = [x for x in jax.tree.leaves(residuals) if len(x.shape) == 4 and x.shape[0] == 2]
    return sum(x.size * x.dtype.itemsize for x in images)


def test_parameters_and_outputs_are_those_of_float32_in_every_mode(setting):
    variables, batch = setting
    for precision in Precision:
        for remat in Remat:
            model = make(precision, remat)
            image = model.inputs(batch)
            drawn = jax.eval_shape(model.init, jax.random.key(0), image)
            assert shapes(drawn) == shapes(variables)
            output = jax.eval_shape(model.apply, variables, image)
            assert output.dtype == np.float32


def test_recomputation_does_not_change_gradients_and_statistics(setting):
    variables, batch = setting
    results = []
    for remat in Remat:
        loss = functools.partial(loss_of, model=make(remat=remat))
        gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
        results.append(gradient(variables["params"], variables["batch_stats"], batch))
    for other in results[1:]:
        # The same operations, fused otherwise.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), results[0], other
        )


def test_bfloat16_is_near_float32(setting):
    variables, batch = setting
    image = make().inputs(batch)
    exact = np.asarray(jax.jit(make().apply)(variables, image))
    rough = np.asarray(jax.jit(make(Precision.BFLOAT16).apply)(variables, image))
    assert rough.dtype == np.float32
    error = np.abs(rough - exact).max() / np.abs(exact - exact.mean((1, 2), keepdims=True)).max()
    # Eight bits of a mantissa are 0.4 % a rounding, and a dozen layers add theirs up.
    assert 0 < error < 0.05


def test_remat_and_bfloat16_shrink_the_residuals(setting):
    """Residuals, counted in shapes alone: XLA for CPUs undoes the recomputation."""
    _, batch = setting
    kept = {}
    for precision in Precision:
        for remat in Remat:
            inner = segmenter.Segmenter(
                resnet.ResNet(10, width=32), precision=precision, remat=remat
            )
            model = decoder.FullResolution(inner).make(3)
            variables = jax.eval_shape(model.init, jax.random.key(0), model.inputs(batch))
            train = (*TRAIN[:3], "decoder")
            kept[precision, remat] = kept_bytes(model, variables, batch, train)
    everything, convolutions, blocks = (kept[Precision.FLOAT32, remat] for remat in Remat)
    assert convolutions < everything / 2
    assert blocks < convolutions / 2
    for remat in (Remat.CONVOLUTIONS, Remat.BLOCKS):
        share = kept[Precision.BFLOAT16, remat] / kept[Precision.FLOAT32, remat]
        assert 0.5 <= share < 0.65  # What the last convolution sees is float32.


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="float16"):
        segmenter.Segmenter(precision="float16").make(1)  # pyright: ignore
    with pytest.raises(ValueError, match="convs"):
        segmenter.Segmenter(remat="convs").make(1)  # pyright: ignore
