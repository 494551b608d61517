"""Signals that ask a run to save and leave."""

import signal
import threading
from typing import Any

import tqdm

from psp_jax.runtime import mesh

# SIGUSR1 is what clusters send ahead of the end of a job's time.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Termination:
    """Turns SIGTERM, SIGUSR1 and Ctrl-C into a request to save and leave.

    A second SIGTERM or Ctrl-C ends the process at once; a second SIGUSR1 says nothing new. Use it
    in a `with` block. Where a run has several processes, what one of them receives is obeyed by
    all, at the same step.

    Attributes:
        requested: number of the signal, 0 before any; it changes only when it is looked for.
    """

    def __init__(self, devices: mesh.Devices):
        """Listens to nothing yet."""
        self.requested = 0
        self._received = 0
        self._agreement = mesh.Agreement(devices)
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Termination":
        """Listens, in the main thread; no other may."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *unused) -> None:
        """Gives the signals back to who had them."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def look(self) -> None:
        """Looks for a request, at every step; those of other processes come a bit later."""
        self.requested = self._agreement.later(self._received)

    def look_well(self) -> None:
        """Looks for a request and waits until every process has."""
        self.requested = self._agreement.now(self._received)

    def obey(self, farewell: str) -> None:
        """Leaves with the status a shell gives the signal, if one was seen."""
        if self.requested:
            tqdm.tqdm.write(farewell)
            raise SystemExit(128 + self.requested)

    def _request(self, number: int, *unused) -> None:
        self._received = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN if each == signal.SIGUSR1 else signal.SIG_DFL)
