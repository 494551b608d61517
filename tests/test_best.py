"""The best step is kept, survives a kill, is used by default, and may end the training."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from psp_jax import checkpoints, experiment, train
from psp_jax.evaluation import run_report, validation_sheets
from psp_jax.metrics import directions
from psp_jax.models import unet
from psp_jax.runtime import metric_log, saved_steps
from psp_jax.runtime.phase_monitor import PhaseMonitor
from tests.experiments import make_tiny

# Validation losses by step; the second phase begins after step 6.
LOSSES = {4: 5.0, 6: 4.0, 8: 1.0, 12: 3.0, 16: 2.0}


@pytest.fixture(scope="module", autouse=True)
def reports():
    """The variables of every report, in place of the reports; the losses are those above."""
    write, variables_of = PhaseMonitor.write, []

    def written(self, step, validation, titles):
        write(self, step, {**validation, "loss": LOSSES[step]}, titles)

    def report(config, model, variables, *unused):
        variables_of.append(variables)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PhaseMonitor, "write", written)
        patch.setattr(run_report, "report", report)
        patch.setattr(validation_sheets.ValidationSheets, "draw", lambda *unused: {})
        yield variables_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir, reports):
    """The workdir of a finished run; what it reported is in `reports[0]`."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    reports.clear()
    train.run(config_of(data_dir), str(workdir))
    return workdir


def config_of(data_dir, **changed):
    model = unet.DepthCNN(width=1, levels=1)
    phases = tuple(
        dataclasses.replace(phase, train=model.make(1).PARTS)
        for phase in make_tiny(data_dir).phases
    )
    given = {"model": model, "phases": phases, "checkpoint_every": 100, "keep_checkpoints": 1}
    return dataclasses.replace(make_tiny(data_dir), **given | changed)


def steps_of(workdir):
    return saved_steps.steps_of(workdir / saved_steps.FOLDER)


def test_the_best_step_is_kept_and_used_also_after_a_kill_before_its_save(
    whole, tmp_path, data_dir, monkeypatch, capsys, reports
):
    config, killed = config_of(data_dir), tmp_path / "killed"
    assert steps_of(whole) == [8, 16]
    save = checkpoints.Store.save

    def kill(self, state, best_at):
        if int(state.step) == 8:
            raise RuntimeError("killed")
        save(self, state, best_at)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(checkpoints.Store, "save", kill)
        train.run(config, str(killed))
    assert [record["step"] for record in metric_log.read(killed)] == [4, 6, 8]
    assert steps_of(killed) == [6]
    train.run(config, str(killed))
    assert "step 8 of 16 is tested" in capsys.readouterr().out
    assert steps_of(killed) == [8, 16]
    assert [record["step"] for record in metric_log.read(killed)] == list(LOSSES)
    (step, first), (other_step, second) = map(checkpoints.load_best, (whole, killed))
    assert step == other_step == 8
    assert len(reports) == 2
    for other in (second, *reports):
        jax.tree.map(np.testing.assert_array_equal, first, other)


def test_a_damaged_best_step_gives_way_to_the_newest(whole, tmp_path, data_dir, capsys):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    next((tmp_path / saved_steps.FOLDER / "8" / "variables").glob("_*")).write_text("")
    assert checkpoints.load_best(tmp_path)[0] == 16
    assert "checkpoint 8" in capsys.readouterr().out
    train.run(config_of(data_dir), str(tmp_path))
    assert "step 16 is tested" in capsys.readouterr().out


def test_patience_ends_the_last_phase_and_the_same_command_trains_no_further(tmp_path, data_dir):
    config = config_of(data_dir, patience=1)
    assert int(train.run(config, str(tmp_path)).step) == 12
    assert steps_of(tmp_path) == [8, 12]
    assert int(train.run(config, str(tmp_path)).step) == 12
    assert int(train.run(dataclasses.replace(config, patience=0), str(tmp_path)).step) == 16


def test_a_metric_that_the_network_does_not_have_is_refused(tmp_path, data_dir):
    with pytest.raises(experiment.ConfigError, match="best_metric=edge_ods.*rmse_m"):
        train.run(config_of(data_dir, best_metric="edge_ods"), str(tmp_path))
    with pytest.raises(experiment.ConfigError, match="best_metric=rmse: expected one of"):
        experiment.check(config_of(data_dir, best_metric="rmse"))


def test_the_first_finite_best_counts_in_the_direction_of_the_metric():
    records = [
        {"step": step, "validation_loss": loss, "validation_edge_ods": f}
        for step, loss, f in ((1, 2.0, 0.1), (2, float("nan"), 0.9), (3, 1.0, 0.9), (4, 1.0, 0.2))
    ]
    assert directions.best_step(records) == 3
    assert directions.best_step(records, "edge_ods") == 2
    assert directions.best_step(records, "rmse_m") is None
