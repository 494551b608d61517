"""What a run writes down and shows as it goes: metrics, TensorBoard events, a progress line."""

import json
import pathlib
import sys
import time
from typing import Any

import tqdm

METRICS_FILE = "metrics.jsonl"
NEEDED = ("step", "train_loss", "validation_loss")  # The curves are of these.


class Journal:
    """One record per validation; a resumed run drops the records of what it will do again.

    Attributes:
        records: all of them, in order.
    """

    def __init__(self, folder: pathlib.Path, start: int):
        """Opens the journal of a workdir at the step that the run goes on from."""
        self._path = folder / METRICS_FILE
        found = self._path.read_text(errors="replace").splitlines() if self._path.exists() else []
        self.records = [r for r in map(_record, found) if r is not None and r["step"] <= start]
        partial = self._path.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(record) + "\n" for record in self.records))
        partial.replace(self._path)
        # It imports torch where that is installed, which takes seconds.
        import tensorboardX

        self._events = tensorboardX.SummaryWriter(
            str(folder / "tensorboard"), purge_step=start + 1 if start else None
        )

    def write(self, record: dict[str, Any]) -> None:
        """Appends one record."""
        self.records.append(record)
        with self._path.open("a") as file:
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
    """Loss, images per second and time left of a phase: a bar, or lines where no one watches."""

    def __init__(self, done: int, total: int, batch_size: int):
        """Starts a line for a phase of `total` steps of which `done` are done."""
        self._batch_size = batch_size
        self._terminal = sys.stderr.isatty()
        self._interval_s = 1 if self._terminal else 20
        self._shown_s = time.monotonic()
        self._bar = tqdm.tqdm(
            initial=done * batch_size,
            total=total * batch_size,
            unit="image",
            desc="training",
            disable=not self._terminal,
            dynamic_ncols=True,
        )
        self._meter = {"n": 0, "total": (total - done) * batch_size, "unit": "image"}
        self._began_s = time.monotonic()

    def __enter__(self) -> "Progress":
        """Returns itself."""
        return self

    def __exit__(self, *unused) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()

    def advance(self, losses: list[float]) -> None:
        """Counts a step; now and then shows the last of the losses."""
        self._bar.update(self._batch_size)
        self._meter["n"] += self._batch_size
        if not losses or time.monotonic() - self._shown_s < self._interval_s:
            return
        self._shown_s = time.monotonic()
        loss = f"loss {losses[-1]:.4f}"
        if self._terminal:
            self._bar.set_postfix_str(loss, refresh=False)
        else:
            elapsed_s = time.monotonic() - self._began_s
            print(
                tqdm.tqdm.format_meter(elapsed=elapsed_s, postfix=loss, ncols=90, **self._meter),
                file=sys.stderr,
                flush=True,
            )

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        tqdm.tqdm.write(line)
        sys.stdout.flush()


def _record(line: str) -> dict | None:
    """Reads a line; None for one that a killed run left unfinished."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and all(name in record for name in NEEDED) else None
