"""One run at a time in a workdir."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator

FILE = ".lock"  # Within a workdir: who runs there, as JSON; empty once it has left.
_JOB = "SLURM_JOB_ID"  # A job that is queued again keeps it, and has ended before.


@contextlib.contextmanager
def sole_run(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of a workdir.

    The lock goes with the process, however that ends. What a process on another host has left
    can't be told from one that goes on there, and is only taken over within the same SLURM job.

    Raises:
        OSError: if another run is there, or may be.
    """
    path = workdir / FILE
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            raise OSError(_refusal(workdir, _read(handle), "wait for it, end it, or")) from None
        except OSError:  # A file system without locks: only what is written there keeps us apart.
            locked = False
        there, here = _read(handle), _here()
        if there:
            elsewhere = there["host"] != here["host"] and not (
                there["job"] and there["job"] == here["job"]
            )
            if elsewhere or not (locked or _is_gone(there["pid"])):
                raise OSError(_refusal(workdir, there, f"if it is gone, delete {path}; or"))
            print(f"taking {workdir} over from {_words(there)}, which did not end it")
        _write(handle, json.dumps(here))
        try:
            yield
        finally:
            _write(handle, "")
    finally:
        os.close(handle)


def _here() -> dict:
    return {"host": socket.gethostname(), "pid": os.getpid(), "job": os.environ.get(_JOB, "")}


def _read(handle: int) -> dict | None:
    """Returns who is written there; None for nobody, or for half a line of a full disk."""
    try:
        owner = json.loads(os.pread(handle, 10_000, 0))
        return {"host": str(owner["host"]), "pid": int(owner["pid"]), "job": str(owner["job"])}
    except (ValueError, TypeError, KeyError):
        return None


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _words(owner: dict | None) -> str:
    return f"process {owner['pid']} on {owner['host']}" if owner else "another process"


def _refusal(workdir: pathlib.Path, owner: dict | None, what: str) -> str:
    return f"{workdir} is in use by {_words(owner)}; {what} pass another --workdir"
