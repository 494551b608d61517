"""Sends metrics and pictures of a run to tracking services; `Experiment.writers` lists them.

    config.writers = (tracking.WeightsAndBiases(project="rooms"), tracking.MLflow())

A service of your own is a dataclass like the two below.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from psp_jax.io import dataclass_json, files


class MetricWriter(Protocol):
    """Takes the metrics and the pictures of a run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes metrics by name."""
        ...

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, `[H, W, 3]` uint8 RGB, by name."""
        ...

    def close(self) -> None:
        """Finishes writing."""
        ...


class Service(Protocol):
    """Opens a writer; a dataclass of an importable module, since the config is saved as JSON."""

    def check(self) -> None:
        """Raises ValueError, at once, if `open` can't succeed."""
        ...

    def open(self, workdir: pathlib.Path, config: Mapping[str, Any]) -> MetricWriter:
        """Returns a writer for a run, the same as before if the run is resumed.

        Args:
            workdir: folder of the run.
            config: its experiment, flat, as dotted names and values.
        """
        ...


@dataclasses.dataclass(frozen=True)
class WeightsAndBiases:
    """Weights & Biases: `pip install "psp_jax[wandb]"`.

    Attributes:
        project: name of the project.
        entity: user or team; empty for the default.
        mode: `online`, or `offline` to upload later with `wandb sync`.
    """

    project: str = "psp_jax"
    entity: str = ""
    mode: str = "online"

    def check(self) -> None:
        """Raises ValueError if the package is missing."""
        _require("wandb")

    def open(self, workdir: pathlib.Path, config: Mapping[str, Any]) -> MetricWriter:
        """Starts a run; its id is kept in the workdir, so that it can be resumed."""
        import wandb  # pyright: ignore[reportMissingImports]

        path = workdir / "wandb_run.txt"
        run = wandb.init(
            project=self.project, entity=self.entity or None, mode=self.mode, dir=workdir,
            name=workdir.name, config=dict(config), id=_read(path), resume="allow",
        )  # fmt: skip
        files.write(path, f"{run.id}\n")
        run.define_metric("*", step_metric="step")  # Its own steps can't be repeated on resuming.
        return _WeightsAndBiasesWriter(run, wandb.Image)


@dataclasses.dataclass
class _WeightsAndBiasesWriter:
    run: Any
    image: Any

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **values})

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        self.run.log({"step": step, **{name: self.image(x) for name, x in pictures.items()}})

    def close(self) -> None:
        self.run.finish()


@dataclasses.dataclass(frozen=True)
class MLflow:
    """MLflow: `pip install "psp_jax[mlflow]"`.

    Attributes:
        experiment: name of the experiment.
        uri: of the tracking server; empty for that of the environment, or `mlruns`.
    """

    experiment: str = "psp_jax"
    uri: str = ""

    def check(self) -> None:
        """Raises ValueError if the package is missing."""
        _require("mlflow")

    def open(self, workdir: pathlib.Path, config: Mapping[str, Any]) -> MetricWriter:
        """Starts a run; its id is kept in the workdir, so that it can be resumed."""
        import mlflow  # pyright: ignore[reportMissingImports]

        client, path = mlflow.MlflowClient(self.uri or None), workdir / "mlflow_run.txt"
        if not (run_id := _read(path)):
            found = client.get_experiment_by_name(self.experiment)
            group = found.experiment_id if found else client.create_experiment(self.experiment)
            run_id = client.create_run(group, run_name=workdir.name).info.run_id
            for name, value in config.items():
                client.log_param(run_id, name.replace("'", ""), value)
        client.update_run(run_id, status="RUNNING")
        files.write(path, f"{run_id}\n")
        return _MLflowWriter(client, run_id)


@dataclasses.dataclass
class _MLflowWriter:
    client: Any
    run_id: str

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value, step=step)

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        for name, pixels in pictures.items():
            self.client.log_image(self.run_id, pixels, key=name, step=step)

    def close(self) -> None:
        self.client.set_terminated(self.run_id)


def open_all(services: Sequence[Service], workdir: pathlib.Path, config: Any) -> list[MetricWriter]:
    """Opens the writers of a run with the experiment `config`.

    Raises:
        ValueError: if a service refuses, for example without a key.
    """
    values, writers = dataclass_json.flatten(config), []
    for service in services:
        try:
            writers.append(service.open(workdir, values))
        except Exception as error:  # Those of services have no common type.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"config.writers: {service} can't be opened: {lines[0]}") from error
    return writers


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"config.writers: the package {package} is not installed; run "
            f'pip install "psp_jax[{package}]", or set config.writers=()'
        )


def _read(path: pathlib.Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None
