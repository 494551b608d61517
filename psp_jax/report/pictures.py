"""Draws the curves of runs and collects their pictures of test images."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from psp_jax.evaluation import plots
from psp_jax.io import files, own_files
from psp_jax.report import runs
from psp_jax.report.runs import Run

SHEETS = ("test.png", "frontiers.png")  # Pictures of test images that a run writes.


class Picture(NamedTuple):
    """A picture of the report.

    Attributes:
        title: its title.
        path: PNG file in the folder of the report.
        embedded: the same picture, smaller, as a JPEG or PNG file.
        run: name of its run; empty if it shows several.
    """

    title: str
    path: pathlib.Path
    embedded: bytes
    run: str = ""


class _Curve(NamedTuple):
    """A metric of the validation split, and the baseline that it depends on, if any."""

    key: str
    title: str
    baseline_key: str = ""
    baseline: str = ""

    def panel(self, lines: dict[str, Run]) -> plots.Panel:
        """Plots the metric of runs by label, with the baseline of the first."""
        baselines = _series(next(iter(lines.values())), self.baseline_key)[1]
        levels = {self.baseline: baselines[-1]} if baselines else {}
        series = {label: _series(run, self.key) for label, run in lines.items()}
        return plots.Panel(self.title, series, levels, from_zero=not levels)


CURVES = (
    _Curve("validation_accuracy", "accuracy", "validation_interior_share", "always interior"),
    _Curve("validation_rmse_m", "RMSE, m"),
    _Curve("validation_edge_bits", "bits/edge", "validation_edge_bits_prior", "prior"),
)


def draw(all_runs: Sequence[Run], out: own_files.OwnFiles) -> tuple[list[Picture], list[str]]:
    """Writes all pictures into a folder; returns them and a line for each that is damaged."""
    pictures, warnings = _comparisons(all_runs, out), []
    for run in all_runs:
        pictures += _curves(run, out)
        for sheet in SHEETS if run.status == runs.FINISHED else ():
            source = run.folder / sheet
            if not source.exists():
                continue
            try:
                embedded = plots.smaller(source)
                path = out.path(f"{_file_name(run.name)}_{sheet}")
                files.write(path, source.read_bytes())
                pictures.append(Picture("test images", path, embedded, run.name))
            except ValueError as error:
                warnings.append(f"{run.name}: a picture is left out: {error}")
    return pictures, warnings


def _series(run: Run, key: str) -> tuple[list[float], list[float]]:
    """Returns the epochs that have a metric, and its values."""
    records = [record for record in run.records if key in record]
    epochs = [record.get("epoch", record["step"]) for record in records]
    return epochs, [record[key] for record in records]


def _curves(run: Run, out: own_files.OwnFiles) -> list[Picture]:
    """Draws accuracy and loss of a run (thesis, figures 4.1 to 4.3)."""
    keys = {"training": "train_loss", "validation": "validation_loss"}
    losses = {label: _series(run, key) for label, key in keys.items()}
    if not any(epochs for epochs, _ in losses.values()):
        return []
    panels = [plots.Panel("loss", losses)]
    curve = next((curve for curve in CURVES if _series(run, curve.key)[0]), None)
    if curve is not None:
        panels.insert(0, curve.panel({"validation": run}))
    path = out.path(f"{_file_name(run.name)}_curves.png")
    plots.panels(path, panels, across="epoch")
    return [Picture("curves", path, path.read_bytes(), run.name)]


def _comparisons(all_runs: Sequence[Run], out: own_files.OwnFiles) -> list[Picture]:
    """Draws each metric of all runs that have it, by label set if its baseline depends on it."""
    pictures = []
    for curve in CURVES:
        having = [run for run in all_runs if _series(run, curve.key)[0]]
        for labels in sorted({run.labels if curve.baseline else "" for run in having}):
            lines = {run.name: run for run in having if labels in ("", run.labels)}
            if len(lines) < 2:
                continue
            title, name = f"validation {curve.title}", curve.key.removeprefix("validation_")
            if labels:
                title, name = f"{title}, {labels} labels", f"{name}_{labels}"
            path = out.path(f"{_file_name(f'compared_{name}')}.png")
            plots.panels(path, [curve.panel(lines)], across="epoch")
            pictures.append(Picture(title, path, path.read_bytes()))
    return pictures


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
