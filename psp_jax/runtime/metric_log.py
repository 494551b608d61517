"""Metrics of a run: `metrics.jsonl`, TensorBoard events, and a progress line."""

import io
import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tqdm

from psp_jax.io import files
from psp_jax.metrics import directions
from psp_jax.tracking import MetricWriter

METRICS_FILE = "metrics.jsonl"
SHEETS_FOLDER = "validation"  # Within a workdir: sheets of predicted validation images, by step.
REQUIRED = ("step", "train_loss", "validation_loss")  # The curves need these fields.


class TensorBoard:
    """Writes event files for TensorBoard."""

    def __init__(self, folder: pathlib.Path, start: int):
        """Opens a new file, in which the steps after `start` replace those of older files."""
        # It imports torch where that is installed, which takes seconds.
        import tensorboardX

        purge_step = start + 1 if start else None
        self._events = tensorboardX.SummaryWriter(str(folder), purge_step=purge_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes metrics by name."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, `[H, W, 3]` uint8 RGB, by name."""
        for name, pixels in pictures.items():
            self._events.add_image(name, pixels, step, dataformats="HWC")
        self._events.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()


class MetricLog:
    """One record per validation.

    A resumed run drops the records of steps that it repeats, and keeps the old file under a number.

    Attributes:
        records: all of them, in order.
    """

    def __init__(self, folder: pathlib.Path, start: int, writers: Sequence[MetricWriter] = ()):
        """Opens the log of a workdir at the step that the run resumes from.

        Args:
            folder: the workdir.
            start: the step.
            writers: take the records and pictures, too.
        """
        self._path = folder / METRICS_FILE
        old = self._path.read_bytes() if self._path.exists() else b""
        self.records = [record for record in read(folder) if record["step"] <= start]
        text = "".join(json.dumps(record) + "\n" for record in self.records)
        if text.encode() != old:
            if old:
                kept = files.keep_copy(self._path)
                print(f"{self._path} resumes after step {start}; it is kept as {kept.name}")
            files.write(self._path, text)
        self._writers = list(writers)

    def write(self, record: dict[str, Any]) -> None:
        """Appends one record."""
        self.records.append(record)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        values = {name: value for name, value in record.items() if name != "step"}
        for writer in list(self._writers):
            self._call(writer, "scalars", record["step"], values)

    def write_sheets(self, step: int, sheets: Mapping[str, bytes]) -> None:
        """Writes validation sheets, PNG files by name."""
        pictures = {}
        for name, png in sheets.items():
            files.write(self._path.with_name(SHEETS_FOLDER) / f"{step:06}_{name}.png", png)
            with PIL.Image.open(io.BytesIO(png)) as picture:
                pictures[f"validation_{name}"] = np.asarray(picture.convert("RGB"))
        for writer in list(self._writers):
            self._call(writer, "images", step, pictures)

    def _call(self, writer: MetricWriter, method: str, *given: Any) -> None:
        """Calls a writer; one that fails, such as a service out of reach, is left out from then."""
        try:
            getattr(writer, method)(*given)
        except Exception as error:  # Those of services have no common type.
            self._writers.remove(writer)
            lines = str(error).strip().splitlines() or [type(error).__name__]
            print(f"{type(writer).__name__} gets no further metrics: {lines[0]}", file=sys.stderr)

    def best_step(self, step: int | None = None, metric: str = "") -> int | None:
        """Returns the best validated step, up to `step`, by a metric; empty for the loss."""
        known = (record for record in self.records if step is None or record["step"] <= step)
        return directions.best_step(known, metric)

    def skipped(self, step: int) -> int:
        """Returns how many of the first `step` steps were skipped; counted at validations."""
        counts = [r.get("skipped_steps", 0) for r in self.records if r["step"] <= step]
        return counts[-1] if counts else 0

    def close(self) -> None:
        """Closes the writers."""
        for writer in list(self._writers):
            self._call(writer, "close")
        self._writers.clear()


class Progress:
    """Loss, images per second and time left of a phase: a bar in a terminal, lines elsewhere."""

    def __init__(self, done: int, total: int, images_per_step: int):
        """Starts at `done` of the `total` steps of a phase."""
        self._images_per_step = images_per_step
        self._terminal = sys.stderr.isatty()
        self._interval_s = 1 if self._terminal else 20
        self._shown_s = self._started_s = time.monotonic()
        self._bar = tqdm.tqdm(
            initial=done * images_per_step,
            total=total * images_per_step,
            unit="image",
            desc="training",
            disable=not self._terminal,
            dynamic_ncols=True,
        )
        self._meter = {"n": 0, "total": (total - done) * images_per_step, "unit": "image"}

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def advance(self, losses: list[float]) -> None:
        """Counts a step; shows the last of the losses at intervals."""
        self._bar.update(self._images_per_step)
        self._meter["n"] += self._images_per_step
        if not losses or time.monotonic() - self._shown_s < self._interval_s:
            return
        self._shown_s = time.monotonic()
        loss = f"loss {losses[-1]:.4f}"
        if self._terminal:
            self._bar.set_postfix_str(loss, refresh=False)
        else:
            elapsed_s = time.monotonic() - self._started_s
            print(
                tqdm.tqdm.format_meter(elapsed=elapsed_s, postfix=loss, ncols=90, **self._meter),
                file=sys.stderr,
                flush=True,
            )

    def print(self, line: str) -> None:
        """Prints a line above the bar."""
        tqdm.tqdm.write(line)
        sys.stdout.flush()


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the complete records of a workdir; none if there is no log."""
    path = workdir / METRICS_FILE
    content = path.read_bytes() if path.exists() else b""
    records = map(_record, content.decode(errors="replace").splitlines())
    return [record for record in records if record is not None]


def _record(line: str) -> dict | None:
    """Reads a line; None for one that a killed run left unfinished."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    numbers = [record.get(name) for name in REQUIRED]
    return record if all(isinstance(number, int | float) for number in numbers) else None
