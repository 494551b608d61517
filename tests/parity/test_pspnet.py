"""The Flax network against PyTorch in the same process: outputs, gradients, statistics."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e .[parity]")

from benchmarks import pytorch_pspnet  # noqa: E402
from psp_jax import experiment, optim  # noqa: E402
from psp_jax.models import architecture, resampling, resnet, segmenter  # noqa: E402

ALL = ("trunk", "pyramid", "head", "classifier")
CAFFE = {"ceil_pool": True, "bins": (6, 3, 2, 1), "momentum": 0.05}
# An architecture variant, and its fields by the names of benchmarks/pytorch_pspnet.py.
VARIANTS = {
    "semseg": (architecture.SEMSEG, {}),
    "caffe_101": (architecture.CAFFE_101, CAFFE),
    "caffe_50": (architecture.CAFFE_50, CAFFE | {"stride_on_reduce": True}),
    "mmsegmentation": (
        architecture.MMSEGMENTATION,
        {
            "stem": ((0.5, 3, 2), (0.5, 3, 1), (1.0, 3, 1)),
            "contracted": True,
            "align_corners": False,
        },
    ),
    "torchvision": (architecture.TORCHVISION_TRUNK, {"stem": ((1.0, 7, 2),), "contracted": True}),
}


# Every dilation with every stride: the choices that weights do not show at all.
CROSS = {
    f"{dilation} dilation, stride on the {place}": (
        architecture.Architecture(
            contracted_dilation=dilation == "contracted", stride_on_reduce=place == "1x1"
        ),
        {"contracted": dilation == "contracted", "stride_on_reduce": place == "1x1"},
    )
    for dilation in ("full", "contracted")
    for place in ("1x1", "3x3")
}


def image_of(size, batch=1):
    return np.random.default_rng(0).normal(size=(batch, *size, 3)).astype(np.float32)


def to_torch(image):
    return torch.from_numpy(image.transpose(0, 3, 1, 2).copy())


def as_published(rgb, ours):
    """Prepares uint8 images the way the variant's own scripts do."""
    if ours in (architecture.CAFFE_50, architecture.CAFFE_101):
        return (rgb[..., ::-1] - np.array([103.939, 116.779, 123.68])).astype(np.float32)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((rgb / 255 - mean) / std).astype(np.float32)


def pair(variant, depth, *, width=64, classes=5, seed=0):
    ours, theirs = (VARIANTS | CROSS)[variant]
    other = pytorch_pspnet.PSPNet(depth, classes, width=width, **theirs)
    pytorch_pspnet.randomise(other, seed)
    model = segmenter.Segmenter(
        resnet.ResNet(depth, width=width), dropout=0.0, architecture=ours
    ).make(classes)
    return model, pytorch_pspnet.variables_of(other), other


def assert_logits_agree(model, variables, other, size):
    rgb = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    with torch.no_grad():
        expected = other.eval()(to_torch(as_published(rgb, model.architecture)))
    expected = expected.numpy().transpose(0, 2, 3, 1)
    with jax.default_matmul_precision("highest"):
        actual = np.asarray(jax.jit(model.apply)(variables, architecture.normalise(rgb)))
    assert actual.shape == expected.shape
    difference = np.abs(actual - expected).max() / np.abs(expected).max()
    agree = (actual.argmax(-1) == expected.argmax(-1)).mean()
    print(f"{size}: difference {difference:.1e} of the largest logit, argmax equal on {agree:.4%}")
    assert difference < 1e-4
    assert agree >= 0.9999


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_of_every_variant_agree(variant, depth):
    assert_logits_agree(*pair(variant, depth), (97, 129))


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("choices", CROSS)
def test_logits_of_every_dilation_and_stride_agree(choices, depth):
    assert_logits_agree(*pair(choices, depth, width=16), (97, 129))


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_agree_where_no_size_is_8k_plus_1(variant):
    assert_logits_agree(*pair(variant, 50), (96, 128))


@pytest.mark.parametrize(
    ("depth", "size", "variant"),
    [
        (50, (473, 473), "caffe_50"),
        (50, (480, 640), "semseg"),
        (50, (480, 640), "torchvision"),
        (101, (473, 473), "mmsegmentation"),
        (101, (480, 640), "caffe_101"),
    ],
)
def test_logits_at_full_resolution_agree(depth, size, variant):
    assert_logits_agree(*pair(variant, depth), size)


# Those whose weights have the same shapes as the default's.
@pytest.mark.parametrize("variant", ["caffe_101", "caffe_50"])
def test_a_wrong_variant_changes_the_logits_though_every_shape_agrees(variant):
    """What the architecture guards against."""
    model, variables, _ = pair("semseg", 50, width=8)
    colours = {name: getattr(model.architecture, name) for name in ("channel_order", "mean", "std")}
    other = dataclasses.replace(VARIANTS[variant][0], **colours)
    wrong = segmenter.Segmenter(resnet.ResNet(50, width=8), architecture=other).make(5)
    image = image_of((97, 129))  # 8k + 1: both round the pooled size alike.
    right, other = jax.jit(model.apply)(variables, image), jax.jit(wrong.apply)(variables, image)
    assert right.shape == other.shape
    assert float(jnp.abs(right - other).max() / jnp.abs(right).max()) > 0.01


def test_gradients_through_the_whole_network_agree():
    """In float64: in float32 rounding flips ReLUs, which alone moves some gradients by percents."""
    model, variables, other = pair("semseg", 50, width=8)
    image = image_of((65, 81), batch=2).astype(np.float64)
    weight = np.random.default_rng(1).normal(size=(2, 9, 11, 5))
    output = other.double().train()(to_torch(image))
    (output * torch.from_numpy(weight.transpose(0, 3, 1, 2).copy())).sum().backward()
    expected = pytorch_pspnet.variables_of(other, gradients=True)["params"]
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)

        def loss(params):
            output, _ = model.apply(
                variables | {"params": params}, image, train=ALL, mutable=["batch_stats"]
            )
            return (output * weight).sum()

        gradient = jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(variables["params"]))
    differences = [
        (np.linalg.norm(ours - theirs) / np.linalg.norm(theirs), jax.tree_util.keystr(path))
        for (path, ours), theirs in zip(
            jax.tree_util.tree_flatten_with_path(gradient)[0],
            jax.tree.leaves(expected),
            strict=True,
        )
    ]
    print(f"largest relative difference of a gradient: {max(differences)}")
    assert max(differences)[0] < 1e-5


def test_thirty_steps_of_sgd_along_a_polynomial_agree():
    """As hszhao/semseg trains: momentum, decay, and ten times the rate for new parts.

    It decays every value, where a `Phase` leaves biases and batch norms alone, here and there. In
    float64, for the reason above, and with the batch norms' statistics frozen: normalising a few
    values by their own statistics multiplies any difference by 20 from step to step.
    """
    steps, base, decay, momentum = 30, 3e-4, 1e-4, 0.9
    model, variables, other = pair("semseg", 50, width=4)
    image = image_of((33, 41), batch=2).astype(np.float64)
    target = np.random.default_rng(1).normal(size=(2, 5, 6, 5))
    other.double().eval()
    trunk = [*other.stem.parameters(), *other.stages.parameters()]
    known = {id(value) for value in trunk}
    new = [value for value in other.parameters() if id(value) not in known]
    groups = [
        {
            "params": [value for value in values if (value.ndim > 1) == decays],
            "weight_decay": decay if decays else 0.0,
            "factor": factor,
        }
        for values, factor in ((trunk, 1), (new, 10))
        for decays in (True, False)
    ]
    optimizer = torch.optim.SGD(groups, lr=base, momentum=momentum)
    wanted = torch.from_numpy(target.transpose(0, 3, 1, 2).copy())
    theirs = []
    for step in range(steps):
        rate = base * (1 - step / steps) ** 0.9
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * rate
        optimizer.zero_grad()
        loss = (other(to_torch(image)) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        theirs.append(loss.item())
    expected = pytorch_pspnet.variables_of(other)["params"]

    phase = experiment.Phase(
        steps=steps,
        learning_rate=base,
        schedule=experiment.Schedule.POLY,
        final_lr_fraction=0.0,
        lr_multipliers={"pyramid": 10.0, "head": 10.0, "classifier": 10.0},
        optimizer=experiment.Optimizer.SGD,
        momentum=momentum,
        weight_decay=decay,
        clip_norm=math.inf,
    )
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        tx = optim.make(phase)

        def loss_of(params):
            output: Any = model.apply(variables | {"params": params}, image)
            return jnp.square(output - target).mean()

        @jax.jit
        def take_step(params, opt_state):
            loss, gradient = jax.value_and_grad(loss_of)(params)
            updates, opt_state = tx.update(gradient, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, loss

        params = variables["params"]
        opt_state, ours = tx.init(params), []
        for _ in range(steps):
            params, opt_state, loss = take_step(params, opt_state)
            ours.append(float(loss))
        actual = jax.tree.map(np.asarray, params)
    print(f"loss {ours[0]:.4f} to {ours[-1]:.4f}; PyTorch's {theirs[0]:.4f} to {theirs[-1]:.4f}")
    assert ours[-1] < 0.6 * ours[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), actual, expected
    )


def test_the_auxiliary_output_agrees():
    """Its input is the output of stage 3, in train mode as it is only ever used."""
    model, variables, other = pair("semseg", 50, width=8)
    model = dataclasses.replace(model, auxiliary=True)
    conv, norm = torch.nn.Conv2d(128, 32, 3, padding=1, bias=False), torch.nn.BatchNorm2d(32)
    classifier = torch.nn.Conv2d(32, 5, 1)
    image = image_of((65, 81), batch=2)
    with torch.no_grad():
        x = other.train().pool(other.stem(to_torch(image)))
        for stage in other.stages[:3]:
            x = stage(x)
        expected = classifier(torch.relu(norm(conv(x)))).numpy().transpose(0, 2, 3, 1)

    def kernel(layer):
        return layer.weight.detach().numpy().transpose(2, 3, 1, 0)

    zeros, ones = np.zeros(32, np.float32), np.ones(32, np.float32)
    head = {
        "conv": {"kernel": kernel(conv)},
        "norm": {"scale": ones, "bias": zeros},
        "classifier": {"kernel": kernel(classifier), "bias": classifier.bias.detach().numpy()},
    }
    statistics = {"norm": {"mean": zeros, "var": ones}}
    variables = {
        "params": variables["params"] | {"auxiliary": head},
        "batch_stats": variables["batch_stats"] | {"auxiliary": statistics},
    }
    with jax.default_matmul_precision("highest"):
        _, updated = model.apply(
            variables, image, train=(*ALL, "auxiliary"), mutable=["batch_stats", "auxiliary"]
        )
    (actual,) = jax.tree.leaves(updated["auxiliary"])
    assert np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max() < 1e-4


@pytest.mark.parametrize("variant", ["semseg", "caffe_101"])
def test_running_statistics_over_three_steps_agree(variant):
    model, variables, other = pair(variant, 50, width=8)
    forward = jax.jit(functools.partial(model.apply, train=ALL, mutable=["batch_stats"]))
    other.train()
    rng = np.random.default_rng(0)
    for _ in range(3):
        rgb = rng.integers(0, 256, (2, 65, 81, 3), np.uint8)
        with jax.default_matmul_precision("highest"):
            _, updated = forward(variables, architecture.normalise(rgb))
        variables = variables | updated
        with torch.no_grad():
            other(to_torch(as_published(rgb, model.architecture)))
    expected = pytorch_pspnet.variables_of(other)["batch_stats"]
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5),
        variables["batch_stats"],
        expected,
    )


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("size", "new"), [((6, 6), (60, 80)), ((60, 80), (17, 5)), ((1, 1), (4, 6))]
)
def test_resizing_agrees(size, new, align_corners):
    x = image_of(size)
    expected = torch.nn.functional.interpolate(
        to_torch(x), new, mode="bilinear", align_corners=align_corners
    )
    actual = resampling.resize(jnp.asarray(x), new, align_corners=align_corners)
    np.testing.assert_allclose(actual, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(60, 60), (90, 90), (60, 80), (61, 81), (59, 45), (5, 7)])
def test_adaptive_pooling_agrees(size, bins):
    x = image_of(size)
    expected = torch.nn.functional.adaptive_avg_pool2d(to_torch(x), bins)
    actual = resampling.adaptive_average_pool(jnp.asarray(x), bins)
    np.testing.assert_allclose(actual, expected.numpy().transpose(0, 2, 3, 1), atol=1e-6)
