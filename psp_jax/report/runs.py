"""Workdirs as they are found: finished, under way, damaged or not there."""

import csv
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable
from typing import Any

from psp_jax.evaluation.tables import IMAGES_FILE, TEST_FILE
from psp_jax.experiment import CONFIG_FILE
from psp_jax.report import thesis
from psp_jax.runtime.metric_log import METRICS_FILE

SHEETS = ("test.png", "frontiers.png")
MAX_BYTES = 1 << 28  # A file of a run that is larger was not written by one.
FINISHED, UNFINISHED, DAMAGED, MISSING = "finished", "unfinished", "damaged", "missing"


@dataclasses.dataclass(frozen=True)
class Run:
    """A workdir.

    Attributes:
        name: what it is called in the report.
        folder: where it is.
        status: one of finished, unfinished, damaged and missing.
        words: what is wrong with it, if something is.
        config: its experiment as plain values; empty without a readable one.
        records: the lines of its journal that are whole.
        result: its test figures as plain values; empty before it is finished.
    """

    name: str
    folder: pathlib.Path
    status: str
    words: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    records: list[dict[str, float]] = dataclasses.field(default_factory=list)
    result: dict[str, Any] = dataclasses.field(default_factory=dict)

    def figure(self, *path: str) -> float | None:
        """Looks a number up in the test figures; None for what is not there or not finite."""
        return number(self.result, *path)

    @property
    def experiment(self) -> str:
        """Name of the config that it was run with, whatever the variant."""
        return str(self.config.get("name", "")).removesuffix("-scannet")

    @property
    def labels(self) -> str:
        """Label set of its frontiers."""
        return str(look_up(self.config, "data", "labels") or "")

    @property
    def data(self) -> Any:
        """What it was trained and tested on."""
        return look_up(self.config, "data", "source")

    @property
    def steps(self) -> int:
        """Optimizer steps of all phases."""
        phases = self.config.get("phases")
        counts = [number(phase, "steps") for phase in phases] if isinstance(phases, list) else []
        return int(sum(count or 0 for count in counts))

    @property
    def predicts_depth(self) -> bool:
        """Whether its test has figures of depth."""
        return self.figure("abs_rel") is not None

    @property
    def predicts_frontiers(self) -> bool:
        """Whether its test has figures of frontiers."""
        return self.figure("edge_bits") is not None

    @property
    def thesis_figures(self) -> tuple[thesis.Figure, ...]:
        """What the thesis says of the experiment."""
        weight = number(self.config, "objective", "interior_weight")
        if self.experiment == "weighted_ce" and weight == 0:
            return thesis.FRONTIERS_ONLY
        return thesis.FIGURES.get(self.experiment, ())


def look_up(values: Any, *path: str) -> Any:
    """Follows keys into nested dicts; None where they end."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def number(values: Any, *path: str) -> float | None:
    """Looks up a finite number; None for anything else."""
    value = look_up(values, *path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read(workdirs: Iterable[str]) -> list[Run]:
    """Reads workdirs, each once: in the order of the thesis, the others behind as they are given.

    Nothing that is wrong with one of them keeps the others from being read.
    """
    folders = list(dict.fromkeys(pathlib.Path(workdir) for workdir in workdirs))
    bare = [folder.resolve().name for folder in folders]
    names = [
        str(folder) if bare.count(name) > 1 else name
        for folder, name in zip(folders, bare, strict=True)
    ]
    found = [_read(name, folder) for name, folder in zip(names, folders, strict=True)]
    order = list(thesis.SECTIONS)
    return sorted(
        found,
        key=lambda run: order.index(run.experiment) if run.experiment in order else len(order),
    )


def _read(name: str, folder: pathlib.Path) -> Run:
    if not folder.is_dir():
        return Run(name, folder, MISSING, f"there is no folder {folder}")
    try:
        if not (folder / CONFIG_FILE).exists():
            return Run(name, folder, MISSING, f"{folder} holds no run: it has no {CONFIG_FILE}")
        config = _json(folder / CONFIG_FILE)
        records = _records(folder / METRICS_FILE)
        if (folder / TEST_FILE).exists():
            result = _json(folder / TEST_FILE)
            return Run(name, folder, FINISHED, "", config, records, result)
    except (OSError, ValueError) as error:
        return Run(name, folder, DAMAGED, str(error))
    run = Run(name, folder, UNFINISHED, "", config, records)
    done = int(records[-1]["step"]) if records else 0
    words = f"it was last validated at step {done:,} of {run.steps:,}"
    return dataclasses.replace(
        run, words=words if done else f"none of its {run.steps:,} steps is validated"
    )


def _text(path: pathlib.Path) -> str:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, which no run writes")
    return path.read_text(errors="replace")


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it holds no object")
    return values


def _records(path: pathlib.Path) -> list[dict[str, float]]:
    """Reads a journal; lines that a killed run left unfinished are left out."""
    records = []
    for line in _text(path).splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            continue
        if number(record, "step") is not None:
            records.append(
                {key: value for key in record if (value := number(record, key)) is not None}
            )
    return records


def images(run: Run) -> dict[tuple[str, str], dict[str, str]]:
    """Reads the figures of single test images by (scan, frame); empty without a readable file."""
    path = run.folder / IMAGES_FILE
    try:
        rows = list(csv.DictReader(_text(path).splitlines()))
    except (OSError, ValueError, csv.Error):
        return {}
    return {(row.get("scene_id") or "", row.get("frame_index") or ""): row for row in rows}
