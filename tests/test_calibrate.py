import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax import calibrate
from psp_jax.batch import Prediction
from psp_jax.evaluation import run_report
from psp_jax.objectives import edges
from psp_jax.partition import calibration


def test_a_run_is_calibrated_anew_and_the_result_stored(edges_run, tmp_path, monkeypatch, capsys):
    """The network is replaced by one that is right too timidly by a factor known beforehand."""
    folder = shutil.copytree(edges_run, tmp_path / "run")
    rng = np.random.default_rng(0)

    def predictor(config, model, variables):
        def predict(batch):
            cut = np.asarray(edges.targets(batch.frontier))
            # Gaussian evidence of unit variance around +-1 has the log likelihood ratio 2 x.
            evidence = np.where(cut, 1, -1) + rng.normal(0, 1, cut.shape)
            return Prediction(edges=jnp.asarray(0.5 * 2 * evidence, jnp.float32))

        return predict

    monkeypatch.setattr(run_report, "predictor", predictor)
    monkeypatch.setattr("sys.argv", ["calibrate", f"--workdir={folder}", "--images=2"])
    calibrate.main()
    stored = calibration.load(folder / "calibration.json")
    np.testing.assert_allclose(stored.temperature, 0.5, rtol=0.05)
    assert f"temperature {stored.temperature:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"), [("--images=0", "--images=0: at least 1"), ("", "holds no run")]
)
def test_what_cannot_be_calibrated_is_refused_in_one_line(
    option, message, tmp_path, monkeypatch, capsys
):
    arguments = [argument for argument in (option, f"--workdir={tmp_path}") if argument]
    monkeypatch.setattr("sys.argv", ["calibrate", *arguments])
    with pytest.raises(SystemExit) as ended:
        calibrate.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and len(said.splitlines()) == 1
