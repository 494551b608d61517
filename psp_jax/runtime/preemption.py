"""Signals that ask a run to save and exit."""

import signal
import threading
from typing import Any

import tqdm

from psp_jax.runtime.processes import Agreement

# Clusters send SIGUSR1 ahead of the end of a job's time.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Preemption:
    """Turns SIGTERM, SIGUSR1 and Ctrl-C into a request to save and exit.

    A second SIGTERM or Ctrl-C ends the process at once; a second SIGUSR1 is ignored. Use it in a
    `with` block. A signal that one of several processes receives reaches all of them at the same
    step.

    Attributes:
        requested: number of the signal, 0 before any; `poll` and `sync` update it.
    """

    def __init__(self):
        """Starts without handlers."""
        self.requested = 0
        self._received = 0
        self._agreement = Agreement()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        """Installs the handlers, which only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *unused) -> None:
        """Restores the previous handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def poll(self) -> None:
        """Updates `requested` without waiting; call it at every step."""
        self.requested = self._agreement.poll(self._received)

    def sync(self) -> None:
        """Updates `requested` and waits until every process has."""
        self.requested = self._agreement.sync(self._received)

    def exit_if_requested(self, message: str) -> None:
        """Prints the message and exits with 128 plus the signal's number, if one arrived."""
        if self.requested:
            tqdm.tqdm.write(message)
            raise SystemExit(128 + self.requested)

    def _request(self, number: int, *unused) -> None:
        self._received = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN if each == signal.SIGUSR1 else signal.SIG_DFL)
