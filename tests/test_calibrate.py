import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import calibrate
from psp_jax.batch import Prediction
from psp_jax.evaluation import predictions
from psp_jax.objectives import edges
from psp_jax.partition import calibration


def test_a_run_is_calibrated_again_and_the_result_stored(edges_run, tmp_path, monkeypatch, capsys):
    """The network is replaced by one whose logits are too small by a known factor."""
    folder = shutil.copytree(edges_run, tmp_path / "run")
    rng = np.random.default_rng(0)

    def predict(self, variables, batch):
        cut = np.asarray(edges.targets(batch.frontier))
        # Gaussian evidence of unit variance around +-1 has the log likelihood ratio 2 x.
        evidence = np.where(cut, 1, -1) + rng.normal(0, 1, cut.shape)
        return None, Prediction(edges=jnp.asarray(0.5 * 2 * evidence, jnp.float32))

    monkeypatch.setattr(predictions.BatchPredictor, "__call__", predict)
    monkeypatch.setattr("sys.argv", ["calibrate", f"--workdir={folder}", "--images=2"])
    with pytest.raises(SystemExit) as ended:
        calibrate.main()
    assert ended.value.code == 0
    stored = calibration.load(folder / "calibration.json")
    np.testing.assert_allclose(stored.temperature, 0.5, rtol=0.05)
    assert f"temperature {stored.temperature:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "message"), [("--images=0", "--images"), ("", "holds no run")])
def test_errors_are_one_line_and_status_2(option, message, tmp_path, monkeypatch, capsys):
    arguments = [argument for argument in (option, f"--workdir={tmp_path}") if argument]
    monkeypatch.setattr("sys.argv", ["calibrate", *arguments])
    with pytest.raises(SystemExit) as ended:
        calibrate.main()
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and message in printed and len(printed.splitlines()) == 1
