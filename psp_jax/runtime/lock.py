"""One run at a time in a workdir."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator

FILE = ".lock"  # Within a workdir: the running process as JSON; empty after it ended.
_JOB = "SLURM_JOB_ID"  # A requeued job keeps it; its earlier process has ended.


@contextlib.contextmanager
def sole_run(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of a workdir.

    The lock is freed when the process ends, however it ends. A lock left on another host looks like
    that of a running process, and is only taken over within the same SLURM job.

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
        except OSError:  # A file system without locks: the content of the file decides.
            locked = False
        there, here = _read(handle), _here()
        if there:
            elsewhere = there["host"] != here["host"] and not (
                there["job"] and there["job"] == here["job"]
            )
            if elsewhere or not (locked or _is_gone(there["pid"])):
                raise OSError(_refusal(workdir, there, f"if it is gone, delete {path}; or"))
            print(f"taking {workdir} over from {_describe(there)}, which ended without freeing it")
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
    """Returns the owner of a lock; None if there is none, or if a full disk cut the line."""
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


def _describe(owner: dict | None) -> str:
    return f"process {owner['pid']} on {owner['host']}" if owner else "another process"


def _refusal(workdir: pathlib.Path, owner: dict | None, what: str) -> str:
    return f"{workdir} is in use by {_describe(owner)}; {what} pass another --workdir"
