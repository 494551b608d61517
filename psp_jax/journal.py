"""What a run writes down as it goes: `metrics.jsonl` and TensorBoard events."""

import json
import pathlib
from typing import Any

import tensorboardX

METRICS_FILE = "metrics.jsonl"
NEEDED = ("step", "train_loss", "validation_loss", "validation_rmse_m")  # The curves are of these.


class Journal:
    """One record per epoch; a resumed run drops the records of what it will do again.

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

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()


def _record(line: str) -> dict | None:
    """Reads a line; None for one that a killed run left unfinished."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and all(name in record for name in NEEDED) else None
