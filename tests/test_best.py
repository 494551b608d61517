"""The best step is kept, survives a kill, is used by default, and may end the training."""

import dataclasses

import jax
import numpy as np
import pytest

from psp_jax import checkpoints, experiment, train
from psp_jax.evaluation import run_report
from psp_jax.metrics import directions
from psp_jax.models import unet
from psp_jax.runtime import metric_log, saved_steps
from psp_jax.runtime.phase_monitor import PhaseMonitor
from tests.experiments import make_tiny

# Validation losses by step; the second phase begins after step 6.
LOSSES = {4: 5.0, 6: 4.0, 8: 1.0, 12: 3.0, 16: 2.0}


@pytest.fixture(autouse=True)
def known_losses(monkeypatch):
    write = PhaseMonitor.write

    def written(self, step, validation, titles):
        write(self, step, {**validation, "loss": LOSSES[step]}, titles)

    monkeypatch.setattr(PhaseMonitor, "write", written)


@pytest.fixture(autouse=True)
def tested(monkeypatch, without_report):
    """The variables of every report, in place of the reports."""
    reports = []

    def report(config, model, variables, *unused):
        reports.append(variables)

    monkeypatch.setattr(run_report, "report", report)
    return reports


def config_of(data_dir, **changed):
    model = unet.DepthCNN(width=2, levels=1)
    phases = tuple(
        dataclasses.replace(phase, train=model.make(1).PARTS)
        for phase in make_tiny(data_dir).phases
    )
    given = {"model": model, "phases": phases, "checkpoint_every": 100, "keep_checkpoints": 1}
    return dataclasses.replace(make_tiny(data_dir), **given | changed)


def steps_of(workdir):
    return saved_steps.steps_of(workdir / saved_steps.FOLDER)


def test_the_best_step_is_kept_and_used_also_after_a_kill_before_its_save(
    tmp_path, data_dir, monkeypatch, capsys, tested
):
    config, whole, killed = config_of(data_dir), tmp_path / "whole", tmp_path / "killed"
    train.run(config, str(whole))
    assert steps_of(whole) == [8, 16]
    assert "step 8 of 16 is tested" in capsys.readouterr().out
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
    assert steps_of(killed) == [8, 16]
    assert [record["step"] for record in metric_log.read(killed)] == list(LOSSES)
    (step, first), (other_step, second) = map(checkpoints.load_best, (whole, killed))
    assert step == other_step == 8
    assert len(tested) == 2
    for other in (second, *tested):
        jax.tree.map(np.testing.assert_array_equal, first, other)


def test_a_damaged_best_step_gives_way_to_the_newest(tmp_path, data_dir, capsys):
    train.run(config_of(data_dir), str(tmp_path))
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
