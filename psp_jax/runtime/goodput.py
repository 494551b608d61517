"""Where the time of a run goes, over all its sessions."""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator

FILE = "goodput.json"  # Within a workdir: seconds by kind.
INIT, COMPILE, DATA, STEP, EVALUATION, SAVE, REPORT, LOST = KINDS = (
    "init",
    "compile",
    "data_wait",
    "step",
    "evaluation",
    "save",
    "report",
    "lost",  # Steps that a killed session took after its last checkpoint, and all about them.
)
_AT_STAKE = (DATA, STEP, EVALUATION)  # What a kill loses, back to the last checkpoint.
_WRITTEN_EVERY_S = 10  # So much of what a kill loses is not known.
_MUCH_WAITING = 0.1


class Goodput:
    """Charges every second to one kind; what it is told last holds.

    Attributes:
        seconds: of the whole run, by kind.
        sessions: how often the run was started.
    """

    def __init__(self, folder: pathlib.Path):
        """Goes on with what the sessions before have written in a workdir."""
        self._path = folder / FILE
        before = _read(self._path)
        self.seconds: dict[str, float] = {kind: before.get(kind, 0.0) for kind in KINDS}
        self.seconds[LOST] += before.get("unsaved", 0.0)
        self.sessions = int(before.get("sessions", 0)) + 1
        self._unsaved: dict[str, float] = dict.fromkeys(_AT_STAKE, 0.0)
        self._kind, self._since_s, self._written_s = INIT, time.monotonic(), time.monotonic()
        self.write()  # A session that is killed at once counts, too.

    @contextlib.contextmanager
    def spend(self, kind: str) -> Iterator[None]:
        """Charges the time within a `with` block to a kind, less that of blocks within it."""
        outer = self._kind
        self._charge()
        self._kind = kind
        try:
            yield
        finally:
            self._charge()
            self._kind = outer
            if time.monotonic() - self._written_s > _WRITTEN_EVERY_S:
                self.write()

    def saved(self) -> None:
        """Notes that nothing that was done up to now can be lost."""
        self._charge()
        for kind in _AT_STAKE:
            self.seconds[kind] += self._unsaved[kind]
            self._unsaved[kind] = 0.0
        self.write()

    def write(self) -> None:
        """Writes the file."""
        self._charge()
        self._written_s = time.monotonic()
        known = {kind: round(seconds, 3) for kind, seconds in self.seconds.items()}
        unsaved = round(sum(self._unsaved.values()), 3)
        text = json.dumps({"sessions": self.sessions, "seconds": known, "unsaved": unsaved})
        partial = self._path.with_suffix(".tmp")
        partial.write_text(text + "\n")
        partial.replace(self._path)

    def lines(self) -> list[str]:
        """Says where the time went."""
        total = max(sum(self.seconds.values()), 1e-9)
        shown = ", ".join(
            f"{kind.replace('_', ' ')} {seconds:.1f}" for kind, seconds in self.seconds.items()
        )
        times = "one session" if self.sessions == 1 else f"{self.sessions} sessions"
        lines = [f"goodput {self.seconds[STEP] / total:.0%} of {total:.1f} s in {times}: {shown} s"]
        share = self.seconds[DATA] / max(self.seconds[DATA] + self.seconds[STEP], 1e-9)
        if share > _MUCH_WAITING:
            lines.append(
                f"{share:.0%} of the training was waiting for data; "
                "more config.data.threads may help"
            )
        return lines

    def _charge(self) -> None:
        now_s = time.monotonic()
        account = self._unsaved if self._kind in _AT_STAKE else self.seconds
        account[self._kind] += now_s - self._since_s
        self._since_s = now_s


def _read(path: pathlib.Path) -> dict[str, float]:
    """Reads what is there; times are no reason to stop a run, so damage is a new beginning."""
    try:
        found = json.loads(path.read_text())
        flat = {**found["seconds"], "sessions": found["sessions"], "unsaved": found["unsaved"]}
        return {str(name): float(value) for name, value in flat.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
