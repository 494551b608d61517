import json
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from psp_jax.runtime import lock

HOLD = textwrap.dedent("""
    import pathlib, sys, time
    from psp_jax.runtime import lock
    with lock.sole_run(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
""")


def test_a_second_run_is_refused_by_the_first_ones_name_and_a_killed_one_is_taken_over(
    tmp_path, capsys
):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline() == b"held\n"
        owner = f"process {process.pid} on {socket.gethostname()}"
        with pytest.raises(OSError, match=f"in use by {owner}; .*another --workdir"):
            with lock.sole_run(tmp_path):
                pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with lock.sole_run(tmp_path):
        assert f"over from {owner}" in capsys.readouterr().out
        with pytest.raises(OSError, match=f"process {os.getpid()} on"):
            with lock.sole_run(tmp_path):
                pass
    with lock.sole_run(tmp_path):
        assert capsys.readouterr().out == ""


def test_what_another_host_left_is_named_with_what_to_do(tmp_path, monkeypatch, capsys):
    there = {"host": "node7", "pid": os.getpid(), "job": "12"}
    path = tmp_path / lock.FILE
    path.write_text(json.dumps(there))
    with pytest.raises(
        OSError, match=f"in use by process .* on node7; if it is gone, delete {path}"
    ):
        with lock.sole_run(tmp_path):
            pass
    assert json.loads(path.read_text()) == there
    monkeypatch.setenv("SLURM_JOB_ID", "12")  # The same job, queued again on another node.
    with lock.sole_run(tmp_path):
        assert "on node7" in capsys.readouterr().out
    assert path.read_text() == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"pid": "x", "host": "", "job": ""}', "\0\xff"])
def test_a_damaged_lock_is_taken_over(tmp_path, text):
    (tmp_path / lock.FILE).write_text(text)
    with lock.sole_run(tmp_path):
        assert json.loads((tmp_path / lock.FILE).read_text())["pid"] == os.getpid()


def test_on_a_file_system_without_locks_a_living_process_keeps_others_out(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError("no locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with lock.sole_run(tmp_path):
        with pytest.raises(OSError, match=f"in use by process {os.getpid()}"):
            with lock.sole_run(tmp_path):
                pass
