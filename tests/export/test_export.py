import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import psp_jax
from psp_jax.export import __main__ as program
from psp_jax.export import formats
from psp_jax.io import command_line
from psp_jax.models import max_pooling
from psp_jax.partition import decode, edge_logits
from tests import scans

CALL = """
import sys, jax, jax.export, numpy as np
folder, batch = sys.argv[1], np.load(sys.argv[1] + "/batch.npy")
network = jax.jit(jax.export.deserialize(open(folder + "/model.stablehlo", "rb").read()).call)
np.savez(folder + "/outputs.npz", **network(batch))
assert not [name for name in sys.modules if name.startswith(("psp_jax", "flax"))]
"""


@pytest.fixture(scope="module")
def image():
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


def test_a_process_without_psp_jax_gets_the_edges_and_regions_of_the_run(
    edges_run, image, tmp_path
):
    pytest.importorskip("flatbuffers")
    card = program.export(edges_run, tmp_path / "out", names=(formats.STABLEHLO,))
    assert card == json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["input"]["shape"] == ["batch", *scans.SIZE, 3]
    assert card["calibrated"]
    np.save(tmp_path / "out" / "batch.npy", np.stack([image, image[::-1], image]))
    subprocess.run([sys.executable, "-P", "-c", CALL, str(tmp_path / "out")], check=True, cwd="/")
    with np.load(tmp_path / "out" / "outputs.npz") as arrays:
        outputs = dict(arrays)
    assert set(outputs) == set(card["outputs"])
    logits = edge_logits.from_edge_head(outputs["edge_logits"][0])
    result = psp_jax.load(edges_run)(image)
    assert result.edges is not None
    across, along = logits.probabilities
    np.testing.assert_allclose(across, result.edges[:, :-1, 0], atol=1e-4)
    np.testing.assert_allclose(along, result.edges[:-1, :, 1], atol=1e-4)
    np.testing.assert_array_equal(decode.Multicut(**card["decoder"])(logits), result.regions)


@pytest.fixture
def needs_onnx():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_onnx_has_the_outputs_by_name(needs_onnx, image):
    def network(image):
        wide = image.astype(np.float32)
        pooled = max_pooling.max_pool(wide, ceil=False)  # Of a ResNet; jax2onnx knows few forms.
        return {"depth_m": pooled[..., 0], "edge_logits": wide[..., :2] - 1}

    _, call, facts = formats.to_onnx(network, scans.SIZE)
    assert facts["batch"] == 1
    outputs, wide = call(image[None]), image[None].astype(np.float32)
    pooled = max_pooling.max_pool(wide, ceil=False)[..., 0]
    np.testing.assert_array_equal(outputs["depth_m"], pooled)
    np.testing.assert_array_equal(outputs["edge_logits"], wide[..., :2] - 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_onnx_can_not_express_is_one_line(needs_onnx):
    def network(image):
        return {"depth_m": jnp.linalg.eigvals(image[0, :8, :8, 0].astype(np.float32)).real}

    with pytest.raises(ValueError, match="can't convert .*--formats=stablehlo") as error:
        formats.to_onnx(network, scans.SIZE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "flags, words",
    [
        ([], "--out"),
        (["--out=x", "--formats=torch"], "stablehlo,onnx, got 'torch'"),
        (["--out=x", "--size=240"], "240x320, got '240'"),
        (["--out=x", "--size=0x320"], "got '0x320'"),
        (["--out=gs://x/y"], "gs://x/y"),
    ],
)
def test_wrong_arguments_are_named(flags, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["export", *flags])
    with pytest.raises(SystemExit) as end:
        command_line.run(program.main, program.parser())
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_nothing_is_overwritten(depth_run, tmp_path):
    pytest.importorskip("flatbuffers")
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        program.export(depth_run, tmp_path, names=(formats.STABLEHLO,))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_size_that_does_not_fit_is_refused(depth_run, tmp_path):
    pytest.importorskip("flatbuffers")
    with pytest.raises(ValueError, match="4x64: expected sides of at least"):
        program.export(depth_run, tmp_path / "out", size=(4, 64), names=(formats.STABLEHLO,))
    assert not (tmp_path / "out").exists()


def test_a_network_that_differs_from_the_run_is_not_written():
    expected = {"depth_m": np.full((1, 2, 2), 5.0)}
    assert program.difference({"depth_m": expected["depth_m"] * 1.00001}, expected, "x") < 1e-4
    for wrong in (5.01, np.nan):
        with pytest.raises(ValueError, match="x: expected the depth_m of the run"):
            program.difference({"depth_m": np.full((1, 2, 2), wrong)}, expected, "x")
