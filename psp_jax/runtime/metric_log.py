"""Metrics of a run: `metrics.jsonl`, TensorBoard events, and a progress line."""

import json
import pathlib
import sys
import time
from typing import Any

import tqdm

from psp_jax.io import files

METRICS_FILE = "metrics.jsonl"
REQUIRED = ("step", "train_loss", "validation_loss")  # The curves need these fields.


class MetricLog:
    """One record per validation.

    A resumed run drops the records of steps that it repeats, and keeps the old file under a number.

    Attributes:
        records: all of them, in order.
    """

    def __init__(self, folder: pathlib.Path, start: int):
        """Opens the log of a workdir at the step that the run resumes from."""
        self._path = folder / METRICS_FILE
        old = self._path.read_bytes() if self._path.exists() else b""
        records = map(_record, old.decode(errors="replace").splitlines())
        self.records = [r for r in records if r is not None and r["step"] <= start]
        text = "".join(json.dumps(record) + "\n" for record in self.records)
        if text.encode() != old:
            if old:
                kept = files.keep_copy(self._path)
                print(f"{self._path} resumes after step {start}; it is kept as {kept.name}")
            files.write(self._path, text)
        # It imports torch where that is installed, which takes seconds.
        import tensorboardX

        self._events = tensorboardX.SummaryWriter(
            str(folder / "tensorboard"), purge_step=start + 1 if start else None
        )

    def write(self, record: dict[str, Any]) -> None:
        """Appends one record."""
        self.records.append(record)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name != "step":
                self._events.add_scalar(name, value, record["step"])
        self._events.flush()

    def skipped(self, step: int) -> int:
        """Returns how many of the first `step` steps were skipped; counted at validations."""
        counts = [r.get("skipped_steps", 0) for r in self.records if r["step"] <= step]
        return counts[-1] if counts else 0

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()


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
