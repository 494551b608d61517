"""Files that PyTorch itself wrote, and numbers that PyTorch itself computed."""

import collections
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e .[parity]")

from psp_jax.models import architecture  # noqa: E402
from psp_jax.weights import reading  # noqa: E402
from psp_jax.weights.network import NetworkSpec, flatten  # noqa: E402
from tests import golden as stored_golden  # noqa: E402
from tests import published  # noqa: E402
from tests.parity import golden  # noqa: E402


def state_of(leaves, rename):
    state = published.torch_names(leaves, rename)
    return collections.OrderedDict(
        (name, torch.from_numpy(np.array(value))) for name, value in state.items()
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("rename", "variant"),
    [
        (published.semseg, architecture.SEMSEG),
        (published.mmsegmentation, architecture.MMSEGMENTATION),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_training_checkpoint_of_pytorch_comes_back(rename, variant, zipped, prefix, tmp_path):
    network = NetworkSpec(50, 4, 3, 5, True, variant)
    leaves = published.make_leaves(network)
    state = state_of(leaves, rename)
    weights = [torch.nn.Parameter(value.clone()) for value in state.values() if value.ndim == 4]
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
    torch.stack([weight.sum() for weight in weights]).sum().backward()
    optimizer.step()
    path = tmp_path / "epoch.pth"
    checkpoint = {
        "epoch": 3,
        "state_dict": {prefix + name: value for name, value in state.items()},
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.5),
        "meta": {"classes": ("wall", "floor"), "palette": [[1, 2, 3]]},
    }
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    result = flatten(reading.load(path).variables)
    assert result.keys() == leaves.keys()
    for name, value in leaves.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_kind_are_read_as_pytorch_loads_them(zipped, tmp_path):
    base = torch.arange(60, dtype=torch.float32)
    module = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    state = {
        "view": base[7:31].reshape(4, 6),
        "transposed": base.reshape(5, 12).t(),
        "strided": base[::3],
        "shared": base,
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": torch.randn(5).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "double": torch.randn(5).double(),
        "long": torch.tensor([1 << 40, -3]),
        "int": torch.tensor([5], dtype=torch.int32),
        "short": torch.tensor([5], dtype=torch.int16),
        "byte": torch.tensor([5, 255], dtype=torch.uint8),
        "char": torch.tensor([-5], dtype=torch.int8),
        "bool": torch.tensor([True, False]),
        **module.state_dict(),
    }
    path = tmp_path / "kinds.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    arrays = reading.open_archive(path).arrays
    assert list(arrays) == list(state)
    for name, value in state.items():
        expected = value.float() if value.dtype == torch.bfloat16 else value
        np.testing.assert_array_equal(arrays[name], expected.detach().numpy(), err_msg=name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_model_is_refused_by_its_class(zipped, tmp_path):
    """`torch.save(model)` pickles code; what to save instead is what everybody publishes."""
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 3), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        reading.load(path)


@pytest.mark.parametrize("variant", stored_golden.VARIANTS)
def test_the_golden_logits_are_pytorchs(variant):
    with np.load(stored_golden.LOGITS) as stored:
        expected = golden.logits(variant)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(stored[variant], expected, atol=1e-5 * scale)


def test_a_published_file_is_read_as_pytorch_loads_it():
    path = golden.efficientnet_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    arrays = reading.open_archive(pathlib.Path(path)).arrays
    assert list(arrays) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(arrays[name], value.numpy(), err_msg=name)
    summary = golden.efficientnet_summary()
    with np.load(stored_golden.EFFICIENTNET) as stored:
        for name, values in summary.items():
            np.testing.assert_array_equal(stored[name], values)
    print(f"{len(arrays)} tensors, {sum(map(np.size, arrays.values())):,} numbers")
