"""Reads workdirs, whether their runs are finished, unfinished, damaged or missing."""

import csv
import dataclasses
import json
import math
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from psp_jax.evaluation.tables import IMAGES_FILE, TEST_FILE
from psp_jax.experiment import CONFIG_FILE
from psp_jax.report import thesis
from psp_jax.runtime.metric_log import METRICS_FILE

FINISHED, UNFINISHED, DAMAGED, MISSING = "finished", "unfinished", "damaged", "missing"


@dataclasses.dataclass(frozen=True)
class Run:
    """A workdir.

    Attributes:
        name: name in the report.
        folder: the workdir.
        status: finished, unfinished, damaged or missing.
        reason: reason of the status; empty if finished.
        config: the experiment as JSON values; empty if it can't be read.
        records: the complete lines of `metrics.jsonl`.
        result: the content of `test.json`; empty if not finished.
    """

    name: str
    folder: pathlib.Path
    status: str
    reason: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    records: list[dict[str, float]] = dataclasses.field(default_factory=list)
    result: dict[str, Any] = dataclasses.field(default_factory=dict)

    def metric(self, *path: str) -> float | None:
        """Looks up a number in `test.json`; None if it is absent or not finite."""
        return number(self.result, *path)

    @property
    def experiment(self) -> str:
        """Name of the config without its variant."""
        return str(self.config.get("name", "")).removesuffix("-scannet")

    @property
    def labels(self) -> str:
        """Label set of the frontiers."""
        return str(look_up(self.config, "data", "labels") or "")

    @property
    def data(self) -> Any:
        """Source of the training and test data."""
        return look_up(self.config, "data", "source")

    @property
    def steps(self) -> int:
        """Optimizer steps of all phases."""
        phases = self.config.get("phases")
        counts = [number(phase, "steps") for phase in phases] if isinstance(phases, list) else []
        return int(sum(count or 0 for count in counts))

    @property
    def predicts_depth(self) -> bool:
        """Whether the test has depth metrics."""
        return self.metric("abs_rel") is not None

    @property
    def predicts_frontiers(self) -> bool:
        """Whether the test has frontier metrics."""
        return self.metric("edge_bits") is not None

    @property
    def thesis_results(self) -> tuple[thesis.Result, ...]:
        """Results of the thesis for this experiment."""
        weight = number(self.config, "objective", "interior_weight")
        if self.experiment == "weighted_ce" and weight == 0:
            return thesis.FRONTIERS_ONLY
        return thesis.RESULTS.get(self.experiment, ())


def look_up(values: Any, *path: str) -> Any:
    """Follows keys into nested dicts; None if one is absent."""
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
    """Reads each workdir once, in the order of the thesis, then in the given order.

    A workdir that can't be read becomes a run with that status.
    """
    folders = list(dict.fromkeys(map(pathlib.Path, workdirs)))
    names = Counter(folder.resolve().name for folder in folders)
    order = list(thesis.RESULTS)

    def position(run: Run) -> int:
        return order.index(run.experiment) if run.experiment in order else len(order)

    def name(folder: pathlib.Path) -> str:
        name = folder.resolve().name
        return name if names[name] == 1 else str(folder)

    return sorted((_read(name(folder), folder) for folder in folders), key=position)


def _read(name: str, folder: pathlib.Path) -> Run:
    if not folder.is_dir():
        return Run(name, folder, MISSING, f"the folder {folder} does not exist")
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
    step = int(records[-1]["step"]) if records else 0
    return dataclasses.replace(run, reason=f"validated up to step {step:,} of {run.steps:,}")


def summary(runs: Sequence[Run]) -> list[str]:
    """Counts the runs by status, then names those that are not finished, a line each."""
    statuses = Counter(run.status for run in runs)
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    first = f"{len(runs)} {'workdir' if len(runs) == 1 else 'workdirs'}: {counts}"
    return [first, *(f"{run.name} is {run.status}: {run.reason}" for run in runs if run.reason)]


def images(run: Run) -> dict[tuple[str, str], dict[str, str]]:
    """Reads the metrics of single test images by (scan, frame); empty if there is no such file."""
    try:
        text = (run.folder / IMAGES_FILE).read_text(encoding="utf-8", errors="replace")
        rows = list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error):
        return {}
    return {(row.get("scene_id") or "", row.get("frame_index") or ""): row for row in rows}


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: expected an object")
    return values


def _records(path: pathlib.Path) -> list[dict[str, float]]:
    """Reads the lines of `metrics.jsonl`, except those that a killed run left unfinished."""
    records = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            continue
        if number(record, "step") is not None:
            records.append(
                {key: value for key in record if (value := number(record, key)) is not None}
            )
    return records
