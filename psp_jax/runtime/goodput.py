"""Goodput: which share of a run's time was training, over all its sessions."""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator

from psp_jax.io import files

FILE = "goodput.json"  # Within a workdir: seconds by activity.
INIT, COMPILE, DATA, STEP, EVALUATION, PICTURES, SAVE, REPORT, LOST = ACTIVITIES = (
    "init",
    "compile",
    "data_wait",
    "step",
    "evaluation",
    "pictures",  # Validation sheets.
    "save",
    "report",
    "lost",  # Done by a killed session after its last checkpoint, to be repeated.
)
_AT_RISK = (DATA, STEP, EVALUATION, PICTURES)  # Lost by a kill, back to the last checkpoint.
_WRITE_INTERVAL_S = 10  # At most this much of what a kill loses is not counted.
_DATA_WAIT_WARNING = 0.05


class Goodput:
    """Charges every second to one activity.

    Attributes:
        seconds: of the whole run, by activity.
        sessions: how often the run was started.
    """

    def __init__(self, folder: pathlib.Path):
        """Adds to what earlier sessions have written in a workdir."""
        self._path = folder / FILE
        before = _read(self._path)
        self.seconds = {activity: before.get(activity, 0.0) for activity in ACTIVITIES}
        self.seconds[LOST] += before.get("unsaved", 0.0)
        self.sessions = int(before.get("sessions", 0)) + 1
        self._unsaved: dict[str, float] = dict.fromkeys(_AT_RISK, 0.0)
        self._activity, self._since_s, self._written_s = INIT, time.monotonic(), time.monotonic()
        self.write()  # A session that is killed at once counts, too.

    @contextlib.contextmanager
    def spend(self, activity: str) -> Iterator[None]:
        """Charges the time within a `with` block to an activity, less that of inner blocks."""
        outer = self._activity
        self._charge()
        self._activity = activity
        try:
            yield
        finally:
            self._charge()
            self._activity = outer
            if time.monotonic() - self._written_s > _WRITE_INTERVAL_S:
                self.write()

    def spent(self, activity: str) -> float:
        """Returns the seconds charged to an activity so far."""
        self._charge()
        return self.seconds[activity] + self._unsaved.get(activity, 0.0)

    def saved(self) -> None:
        """Records that nothing done so far can be lost any more."""
        self._charge()
        for activity in _AT_RISK:
            self.seconds[activity] += self._unsaved[activity]
            self._unsaved[activity] = 0.0
        self.write()

    def write(self) -> None:
        """Writes the file."""
        self._charge()
        self._written_s = time.monotonic()
        seconds = {activity: round(seconds, 3) for activity, seconds in self.seconds.items()}
        unsaved = round(sum(self._unsaved.values()), 3)
        content = {"sessions": self.sessions, "seconds": seconds, "unsaved": unsaved}
        files.write(self._path, json.dumps(content) + "\n")

    def lines(self) -> list[str]:
        """Returns the summary that a run prints."""
        total = max(sum(self.seconds.values()), 1e-9)
        shown = ", ".join(
            f"{activity.replace('_', ' ')} {seconds:.1f}"
            for activity, seconds in self.seconds.items()
        )
        sessions = "one session" if self.sessions == 1 else f"{self.sessions} sessions"
        goodput = self.seconds[STEP] / total
        lines = [f"goodput {goodput:.0%} of {total:.1f} s in {sessions}: {shown} s"]
        share = self.seconds[DATA] / max(self.seconds[DATA] + self.seconds[STEP], 1e-9)
        if share > _DATA_WAIT_WARNING:
            lines.append(
                f"{share:.0%} of the training was waiting for data: set config.data.cache=True if "
                "the decoded images fit into memory, or raise config.data.threads"
            )
        return lines

    def _charge(self) -> None:
        now_s = time.monotonic()
        account = self._unsaved if self._activity in _AT_RISK else self.seconds
        account[self._activity] += now_s - self._since_s
        self._since_s = now_s


def _read(path: pathlib.Path) -> dict[str, float]:
    """Reads the file; a missing or damaged one counts as empty, since times stop no run."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        flat = {
            **content["seconds"],
            "sessions": content["sessions"],
            "unsaved": content["unsaved"],
        }
        return {str(name): float(value) for name, value in flat.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
