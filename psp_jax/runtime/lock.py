"""One run at a time in a workdir: a lease that its owner renews.

The file `.lock` names the owner, and its modification time is renewed while the owner runs. A lease
that is no longer renewed is taken over, so that a run can resume on another host. That needs no
locks of the file system, which network file systems may lack, and no equal clocks.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from psp_jax.io import files

FILE = ".lock"  # Within a workdir: the running process as JSON; empty after it ended.
RENEW_S = 10.0
STALE_S = 60.0  # Without renewal for so long, the owner is gone.
_SETTLE_S = 0.2  # Two processes that take over at once notice each other in this time.
_JOB = "SLURM_JOB_ID"  # A requeued job keeps it; its earlier process has ended.
_held: set[str] = set()  # Tokens of this process.


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process that holds a workdir.

    Attributes:
        host: name of its machine or container.
        pid: number of the process there.
        job: its SLURM job; empty if there is none.
        kernel: boot and process namespace, within which a `pid` means the same process.
        started: start time of the process, since numbers are used again.
        token: different for every lease.
    """

    host: str
    pid: int
    job: str = ""
    kernel: str = ""
    started: str = ""
    token: str = ""

    def __str__(self) -> str:
        """Names the process for messages."""
        return f"process {self.pid} on {self.host}"


class Lease:
    """The lease of a workdir; `sole_run` makes it."""

    def __init__(self, path: pathlib.Path, owner: Owner):
        """Takes the file and its owner, this process."""
        self._path, self._owner = path, owner

    def check(self) -> None:
        """Raises OSError if another process has taken the workdir over."""
        other = _read(self._path)
        if other != self._owner:
            raise OSError(
                f"{self._path.parent} was taken over by {other or 'another process'}, since this "
                f"process did not renew its lease for {STALE_S:g} s; nothing more is written"
            )

    def renew_until(self, ended: threading.Event) -> None:
        """Renews the lease until the event is set or another process has it."""
        while not ended.wait(RENEW_S):
            with contextlib.suppress(OSError):  # A file system that is gone for a moment.
                if _read(self._path) != self._owner:
                    return
                os.utime(self._path)


@contextlib.contextmanager
def sole_run(workdir: pathlib.Path) -> Iterator[Lease]:
    """Keeps other runs out of a workdir while a `with` block runs.

    The lease of a process that has ended is taken over: at once if it was on this host or in the
    same SLURM job, otherwise when it was not renewed for `STALE_S`.

    Raises:
        OSError: if another run is there.
    """
    path, here = workdir / FILE, _here()
    _claim(path, here)
    _held.add(here.token)
    lease, ended = Lease(path, here), threading.Event()
    thread = threading.Thread(target=lease.renew_until, args=(ended,), daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        _held.discard(here.token)
        with contextlib.suppress(OSError):
            if _read(path) == here:
                files.write(path, "")


def _claim(path: pathlib.Path, here: Owner) -> None:
    there = _read(path)
    if there:
        if _is_running(there, here) or not (_has_ended(there, here) or _is_stale(path, there)):
            raise OSError(
                f"{path.parent} is in use by {there}; wait for it, end it, or pass another "
                "--workdir"
            )
        print(f"taking {path.parent} over from {there}, which ended without freeing it")
    mine = path.with_name(f"{FILE}-{here.token}")
    mine.write_text(json.dumps(dataclasses.asdict(here)), encoding="utf-8")
    mine.replace(path)
    time.sleep(_SETTLE_S)
    if (winner := _read(path)) != here:
        raise OSError(f"{path.parent} is in use by {winner or 'another process'}")


def _here() -> Owner:
    return Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        job=os.environ.get(_JOB, ""),
        kernel=_kernel(),
        started=_started(os.getpid()),
        token=uuid.uuid4().hex,
    )


def _kernel() -> str:
    """Identifies boot and process namespace; empty where the system can't tell."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Returns the start time of a process in ticks after boot; empty where that is unknown."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_running(there: Owner, here: Owner) -> bool:
    """Returns whether the owner certainly runs; the same number alone proves nothing."""
    if (there.host, there.kernel) != (here.host, here.kernel):
        return False
    if there.pid == here.pid:  # This process, or one of an earlier container with this number.
        return there.token in _held
    return not _is_gone(there.pid) and there.started == _started(there.pid)


def _has_ended(there: Owner, here: Owner) -> bool:
    """Returns whether the owner has certainly ended."""
    if there.job and there.job == here.job and there.host != here.host:
        return True
    same_system = there.host == here.host and (there.kernel == here.kernel != "")
    return same_system and not _is_running(there, here)


def _is_stale(path: pathlib.Path, there: Owner) -> bool:
    """Waits until the lease is either renewed or stale."""
    start_s, first_s = time.monotonic(), _modified(path)
    age_s = max(_file_system_time(path.parent) - first_s, 0.0)
    if age_s <= STALE_S:
        print(f"waiting up to {STALE_S - age_s:.0f} s to see whether {there} still runs")
    while age_s + time.monotonic() - start_s <= STALE_S:
        time.sleep(min(RENEW_S / 10, 1.0))
        if _read(path) != there or _modified(path) != first_s:
            return _read(path) is None
    return True


def _modified(path: pathlib.Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _file_system_time(folder: pathlib.Path) -> float:
    """Returns the time by the clock that dates files in a folder, which may be a server's."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        return os.fstat(file.fileno()).st_mtime


def _read(path: pathlib.Path) -> Owner | None:
    """Returns the owner; None if there is none, or if a full disk cut the file."""
    try:
        plain = json.loads(path.read_bytes())
        names = [field.name for field in dataclasses.fields(Owner)]
        fields: dict[str, Any] = {name: str(plain[name]) for name in names if name in plain}
        return Owner(**fields | {"pid": int(plain["pid"]), "host": str(plain["host"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
