import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from psp_jax.runtime import lock

HOLD = textwrap.dedent("""
    import dataclasses, pathlib, sys, time
    from psp_jax.runtime import lock
    lock.RENEW_S = 0.05
    host, here = sys.argv[2], lock._here
    if host:
        lock._here = lambda: dataclasses.replace(here(), host=host, kernel=host)
    with lock.sole_run(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
""")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Renews often, and waits little."""
    monkeypatch.setattr(lock, "RENEW_S", 0.05)
    monkeypatch.setattr(lock, "STALE_S", 2.0)
    monkeypatch.setattr(lock, "_SETTLE_S", 0.05)


@pytest.fixture
def hold(tmp_path):
    """Starts a process that holds the workdir on a host of that name, "" for this one."""
    processes = []

    def start(host):
        command = [sys.executable, "-c", HOLD, str(tmp_path), host]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout and process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            kill(process)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("host", ["", "vm-a"])
def test_a_running_process_keeps_others_out_and_a_killed_one_is_taken_over(
    tmp_path, capsys, hold, host
):
    process = hold(host)
    owner = str(
        dataclasses.replace(lock._here(), pid=process.pid, **({"host": host} if host else {}))
    )
    with pytest.raises(OSError, match=f"in use by {owner}; .*another --workdir"):
        with lock.sole_run(tmp_path):
            pass
    kill(process)
    with lock.sole_run(tmp_path):
        output = capsys.readouterr().out
        assert f"over from {owner}" in output
        assert ("waiting" in output) == bool(host)
        with pytest.raises(OSError, match=f"process {os.getpid()} on"):
            with lock.sole_run(tmp_path):
                pass
    with lock.sole_run(tmp_path):
        assert capsys.readouterr().out == ""
    assert (tmp_path / lock.FILE).read_text() == ""


def left(tmp_path, **fields):
    """Writes the lease of a process that was killed."""
    owner = dataclasses.replace(lock._here(), **fields)
    (tmp_path / lock.FILE).write_text(json.dumps(dataclasses.asdict(owner)))


@pytest.mark.parametrize(
    "fields",
    [
        {"pid": 2**22 + 1},
        {"started": "1", "pid": os.getppid()},  # Its number belongs to another process now.
        {},  # The same number, as process 1 of a container that was started again.
    ],
)
def test_a_process_of_this_host_that_has_ended_is_taken_over_at_once(tmp_path, capsys, fields):
    left(tmp_path, **fields)
    with lock.sole_run(tmp_path):
        output = capsys.readouterr().out
    assert "taking" in output and "waiting" not in output


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "node7"},
        {"kernel": "another boot"},
        {"kernel": "another container of this name", "pid": 1},
        {"host": "node7", "kernel": "", "started": "", "token": "", "job": "3"},
    ],
)
def test_a_process_elsewhere_is_taken_over_once_it_is_stale(tmp_path, capsys, fields, monkeypatch):
    monkeypatch.setattr(lock, "STALE_S", 0.3)
    left(tmp_path, **fields)
    with lock.sole_run(tmp_path):
        assert "waiting" in capsys.readouterr().out
    left(tmp_path, **fields)
    os.utime(tmp_path / lock.FILE, (0, 0))
    with lock.sole_run(tmp_path):
        assert "waiting" not in capsys.readouterr().out


def test_a_requeued_job_of_slurm_takes_over_at_once(tmp_path, monkeypatch, capsys):
    left(tmp_path, host="node7", job="12")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with lock.sole_run(tmp_path):
        output = capsys.readouterr().out
    assert "on node7" in output and "waiting" not in output


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "host": ""}', "\0\xff"])
def test_a_damaged_lock_is_taken_over(tmp_path, text):
    (tmp_path / lock.FILE).write_text(text)
    with lock.sole_run(tmp_path):
        assert json.loads((tmp_path / lock.FILE).read_text())["pid"] == os.getpid()


def test_a_process_that_slept_too_long_writes_nothing_more(tmp_path):
    with lock.sole_run(tmp_path) as lease:
        lease.check()
        left(tmp_path, host="vm-b", token="other")
        with pytest.raises(OSError, match="taken over by process .* on vm-b"):
            lease.check()
    assert "vm-b" in (tmp_path / lock.FILE).read_text()


def test_of_many_that_take_over_at_once_one_wins(tmp_path):
    left(tmp_path, pid=2**22 + 1)
    barrier, winners, end = threading.Barrier(6), [], threading.Event()

    def run():
        barrier.wait()
        try:
            with lock.sole_run(tmp_path):
                winners.append(1)
                end.wait(5)
        except OSError:
            pass

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    threading.Event().wait(1)
    end.set()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
