"""Signals that ask a run to save and leave."""

import signal
import threading
from typing import Any

import tqdm

# SIGUSR1 is what clusters send ahead of the end of a job's time.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Termination:
    """Turns SIGTERM, SIGUSR1 and Ctrl-C into a request to save and leave.

    A second SIGTERM or Ctrl-C ends the process at once; a second SIGUSR1 says nothing new. Use it
    in a `with` block.

    Attributes:
        requested: number of the signal, 0 before any.
    """

    def __init__(self):
        """Listens to nothing yet."""
        self.requested = 0
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

    def obey(self, farewell: str) -> None:
        """Leaves with the status a shell gives the signal, if there was one."""
        if self.requested:
            tqdm.tqdm.write(farewell)
            raise SystemExit(128 + self.requested)

    def _request(self, number: int, *unused) -> None:
        self.requested = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN if each == signal.SIGUSR1 else signal.SIG_DFL)
