import dataclasses
import json
import sys
import types
from typing import Any

import numpy as np
import pytest

from psp_jax import experiment, tracking
from psp_jax.runtime import metric_log
from tests.experiments import make_tiny

RECORD = {"step": 4, "train_loss": 2.0, "validation_loss": 3.0}
PIXELS = np.zeros((4, 5, 3), np.uint8)


class Calls(list):
    """Records calls, `(name, positional, keyword)`, of any method; stands for a client."""

    def __getattr__(self, name):
        def call(*given, **named):
            self.append((name, given, named))
            return types.SimpleNamespace(
                experiment_id="7", info=types.SimpleNamespace(run_id="run-1")
            )

        return call


@pytest.fixture
def wandb(monkeypatch):
    """A module that stands for wandb; its `runs` hold what was logged."""
    module: Any = types.ModuleType("wandb")
    module.__spec__ = types.SimpleNamespace()
    module.runs, module.Image = [], lambda pixels: ("picture", pixels.shape)

    def init(**given):
        run: Any = Calls()
        run.id, run.given = given["id"] or "abc", given
        module.runs.append(run)
        return run

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch):
    """A module that stands for mlflow; `calls` holds what its clients did."""
    module: Any = types.ModuleType("mlflow")
    module.__spec__ = types.SimpleNamespace()
    module.calls = Calls()
    module.MlflowClient = lambda uri: module.calls
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def test_weights_and_biases_gets_config_metrics_and_pictures(wandb, tmp_path, data_dir):
    config = make_tiny(data_dir)
    service = tracking.WeightsAndBiases(project="rooms", mode="offline")
    service.check()
    for _ in range(2):
        (writer,) = tracking.open_all([service], tmp_path, config)
        writer.scalars(4, {"train_loss": 2.0})
        writer.images(4, {"depth": PIXELS})
        writer.close()
    first, second = wandb.runs
    assert first.given["id"] is None and second.given["id"] == "abc"  # The run is resumed.
    assert first.given["project"] == "rooms" and first.given["config"]["data.batch_size"] == 4
    logged = [given[0] for name, given, _ in first if name == "log"]
    assert logged == [{"step": 4, "train_loss": 2.0}, {"step": 4, "depth": ("picture", (4, 5, 3))}]
    assert first[-1][0] == "finish"


def test_mlflow_gets_config_metrics_and_pictures(mlflow, tmp_path, data_dir):
    service = tracking.MLflow()
    for _ in range(2):
        (writer,) = tracking.open_all([service], tmp_path, make_tiny(data_dir))
        writer.scalars(4, {"train_loss": 2.0})
        writer.images(4, {"depth": PIXELS})
        writer.close()
    names = [name for name, _, _ in mlflow.calls]
    assert names.count("create_run") == 1 and names.count("set_terminated") == 2
    assert ("log_metric", ("run-1", "train_loss", 2.0), {"step": 4}) in mlflow.calls
    assert ("log_param", ("run-1", "data.batch_size", 4), {}) in mlflow.calls
    assert names.count("log_image") == 2


def test_a_service_whose_package_is_missing_is_refused(monkeypatch, tiny):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    tiny.writers = (tracking.MLflow(),)
    with pytest.raises(ValueError, match=r'pip install "psp_jax\[mlflow\]"'):
        experiment.check(tiny)


def test_a_service_that_refuses_is_named(wandb, tmp_path, tiny):
    def init(**given):
        raise PermissionError("no key")

    wandb.init = init
    with pytest.raises(ValueError, match=r"WeightsAndBiases\(.*no key"):
        tracking.open_all([tracking.WeightsAndBiases()], tmp_path, tiny)


def test_a_writer_that_fails_is_left_out_and_the_others_go_on(tmp_path, capsys):
    class OutOfReach:
        def scalars(self, step, values):
            raise ConnectionError("no route")

    other = Calls()
    log = metric_log.MetricLog(tmp_path, 0, [OutOfReach(), other])  # pyright: ignore
    log.write(RECORD)
    log.write(RECORD | {"step": 8})
    log.close()
    assert capsys.readouterr().err.count("no route") == 1
    assert [name for name, _, _ in other] == ["scalars", "scalars", "close"]
    assert len((tmp_path / metric_log.METRICS_FILE).read_text().splitlines()) == 2


def test_services_are_saved_with_the_config_and_may_change(tiny, tmp_path):
    config = dataclasses.replace(tiny, writers=(tracking.MLflow("rooms"),))
    experiment.save(config, tmp_path)
    assert experiment.load(tmp_path) == config
    assert not experiment.differences(tiny, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["writers"]
