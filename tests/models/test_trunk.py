import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import experiment, objectives, optim, state, steps
from psp_jax.models import architecture, decoder, depthwise, layers, parts, resnet, segmenter
from psp_jax.models.efficientnet_lite import EfficientNetLite
from tests import untrained
from tests.batches import make_batch


class TwoStages(nn.Module):
    """A trunk that no module of the package knows."""

    STRIDES: ClassVar[dict[str, int]] = {"first": 2, "second": 4}
    head_features: ClassVar[int] = 6

    @nn.compact
    def __call__(self, image, *, train=()):
        first = layers.Convolution(4, stride=2, name="first")(image)
        return {"first": first, "second": layers.Convolution(8, stride=2, name="second")(first)}


class Third:
    def make(self, architecture, remat):
        return TwoStages()


TRUNKS = {
    "resnet": (resnet.ResNet(10, width=4), 8),
    "lite0": (EfficientNetLite(), 32),
    "lite2": (EfficientNetLite(2), 32),
    "third": (Third(), 4),
}
# The network of a segmenter, and rows of the image per row of its outputs.
DECODERS = {
    "skips": (lambda coarse: decoder.FullResolution(coarse, decoder_width=4), 1),
    "sub-pixels": (lambda coarse: decoder.FullResolution(coarse, decoder_width=0), 1),
    "top-down 1": (lambda coarse: decoder.TopDown(coarse, width=4, output_stride=1), 1),
    "top-down 2": (lambda coarse: decoder.TopDown(coarse, width=4, output_stride=2), 2),
    "top-down 4": (lambda coarse: decoder.TopDown(coarse, width=4, output_stride=4), 4),
}


def make(trunk, **fields):
    return segmenter.Segmenter(TRUNKS[trunk][0], dropout=0.0, **fields)


def shapes_of(model, size, inputs=3):
    image = jax.ShapeDtypeStruct((2, *size, inputs), jnp.float32)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), image)


def divided(size, stride):
    return tuple(-(-length // stride) for length in size)


@pytest.mark.parametrize("size", [(96, 128), (61, 83)])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_outputs_have_the_stride_of_the_last_stage(trunk, size):
    output, variables = shapes_of(make(trunk).make(3), size)
    assert output.shape == (2, *divided(size, TRUNKS[trunk][1]), 3)
    assert set(variables["params"]) == {"trunk", "pyramid", "head", "classifier"}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("trunk", ["resnet", "lite0", "third"])
def test_every_decoder_takes_every_trunk(trunk, name):
    size = (61, 83)  # No multiple of a stride.
    wrap, stride = DECODERS[name]
    output, variables = shapes_of(wrap(make(trunk)).make(3), size)
    assert output.shape == (2, *divided(size, stride), 3)
    assert set(variables["params"]) == {"trunk", "pyramid", "head", "decoder"}


@pytest.mark.parametrize("trunk", TRUNKS)
def test_stages_have_the_strides_that_the_trunk_names(trunk):
    model = make(trunk).make(3)
    image = jax.ShapeDtypeStruct((2, 70, 90, 3), jnp.float32)
    init = functools.partial(model.init_with_output, method="features")
    features, variables = jax.eval_shape(init, jax.random.key(0), image)
    assert set(variables["params"]["trunk"]) == set(model.trunk.STRIDES)
    for name, stride in model.trunk.STRIDES.items():
        assert features[f"trunk/{name}"].shape[1:3] == divided((70, 90), stride)
        assert f"trunk/{name}" in model.PARTS


@pytest.mark.parametrize("trunk", ["resnet", "lite0", "third"])
def test_an_auxiliary_head_and_other_inputs_take_every_trunk(trunk):
    model = make(trunk, auxiliary=True, modality=architecture.Modality.RGBD).make(3)
    _, variables = shapes_of(model, (64, 64), inputs=4)
    params = variables["params"]
    *_, before_last, _ = model.trunk.STRIDES
    image = jax.ShapeDtypeStruct((2, 64, 64, 4), jnp.float32)
    features = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image)
    inputs = params["auxiliary"]["conv"]["kernel"].shape[2]
    assert inputs == features[f"trunk/{before_last}"].shape[-1]


def test_the_lite_trunk_sees_colours_minus_127_by_128():
    model = make("lite0").make(1)
    rgb = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    variables = untrained.variables(model)
    kernel = variables["params"]["trunk"]["stem"]["conv1"]["kernel"]
    seen: Any = architecture.normalise(rgb)
    trunk = model.trunk.clone(parent=None)
    inside = {collection: tree["trunk"] for collection, tree in variables.items()}
    stem = jax.jit(lambda x: trunk.apply(inside, x)["stem"])(seen)
    x = jnp.asarray((rgb.astype(np.float32) - 127) / 128)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = np.clip(np.asarray(expected) / np.sqrt(1 + 1e-3), 0, 6)
    np.testing.assert_allclose(stem, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "stride", "image"), [(3, 1, (9, 12)), (5, 1, (4, 7)), (3, 2, (9, 12)), (5, 2, (8, 11))]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_convolving_channels_is_the_grouped_convolution(size, stride, image, dtype):
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (2, *image, 5)).astype(dtype)
    kernel = jax.random.normal(keys[1], (size, size, 1, 5)).astype(dtype)

    def grouped(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=5,
        )

    def own(x, kernel):
        return depthwise.convolve_channels(x, kernel, stride=stride)

    def results(function):
        output, back = jax.vjp(function, x, kernel)
        return output, *back(jnp.ones_like(output))

    # bfloat16 keeps 8 bits, and up to 25 products are added.
    tolerance = 1e-5 if dtype == jnp.float32 else 0.1
    results = jax.jit(results, static_argnums=0)
    for actual, expected in zip(results(own), results(grouped), strict=True):
        assert actual.dtype == dtype
        actual, expected = (np.asarray(each, np.float32) for each in (actual, expected))
        np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("length", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_padding_is_that_of_xla(length, stride):
    expected = jax.lax.padtype_to_pads((length,), (3,), (stride,), "SAME")
    assert layers.Padding.SAME.sides(length, 3, stride, 1) == tuple(expected[0])
    assert layers.Padding.SYMMETRIC.sides(length, 3, stride, 2) == (2, 2)


@pytest.fixture(scope="module")
def lite():
    model = decoder.TopDown(make("lite0"), width=4).make(1)
    batch = make_batch(np.random.default_rng(0).uniform(1, 4, (2, 32, 32)))
    batch.image[:] = np.random.default_rng(1).integers(0, 256, batch.image.shape)
    return model, untrained.variables(model), batch


def test_a_phase_that_trains_one_stage_keeps_the_others_bit_identical(lite):
    model, variables, batch = lite
    phase = experiment.Phase(steps=2, train=("trunk/stage7", "decoder"))
    tx = optim.make(phase)
    step = functools.partial(
        steps.train_step,
        model=model,
        objective=objectives.DepthMSE(),
        tx=tx,
        phase=phase,
        seed=0,
    )
    quick = {"xla_backend_optimization_level": 0}
    before = state.create(variables, tx, phase.train, 0)
    after, metrics = jax.jit(step, compiler_options=quick)(before, batch)
    assert np.isfinite(float(metrics["loss"]))
    for tree, new in ((before.params, after.params), (before.batch_stats, after.batch_stats)):
        trained, frozen = parts.split(tree, phase.train)
        trained_after, frozen_after = parts.split(new, phase.train)
        jax.tree.map(np.testing.assert_array_equal, frozen, frozen_after)
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), trained, trained_after)
        assert all(jax.tree.leaves(moved))


def test_batch_norms_use_the_batch_only_in_train_mode(lite):
    model, variables, batch = lite
    image = model.inputs(batch)
    stage = {
        "params": variables["params"]["trunk"],
        "batch_stats": variables["batch_stats"]["trunk"],
    }

    @functools.partial(jax.jit, static_argnums=1)
    def stem(x, train):
        return model.trunk.apply(stage, x, train=train, mutable=["batch_stats"])[0]["stem"]

    for train in ((), ("stem",)):
        alone, together = stem(image[:1], train)[0], stem(image, train)[0]
        assert np.allclose(alone, together, atol=1e-5) == (train == ())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (segmenter.Segmenter(EfficientNetLite(3)), "trunk.variant=3"),
        (decoder.TopDown(make("lite0"), output_stride=3), "output_stride=3"),
        (decoder.TopDown(make("lite0"), width=0), "width=0"),
        (decoder.TopDown(make("lite0", softmax=True)), "coarse outputs"),
    ],
)
def test_wrong_fields_are_refused_by_name(network, message):
    with pytest.raises(ValueError, match=message):
        network.make(1)
