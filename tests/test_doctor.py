import importlib.metadata
import locale
import pathlib
import shutil
import sys
import types

import cv2
import grain
import jax.numpy as jnp
import pytest

from psp_jax import checkpoints, doctor
from psp_jax.runtime import accelerator, compile_cache


def wrong(finding, *texts):
    assert finding.advice, finding
    assert all(text in f"{finding.message} {finding.advice}" for text in texts), finding


def write(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_packages_that_are_old_or_absent_are_named():
    assert not doctor.check_packages(["numpy>=1.0", "nowhere>=1; extra == 'x'"]).advice
    finding = doctor.check_packages(["numpy>=999", "no-such-package>=2", "pytest"])
    wrong(finding, "pip install 'numpy>=999' 'no-such-package>=2'")


def test_a_package_that_is_not_installed_says_how(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    wrong(doctor.check_packages(), "pip install -e .")


def test_devices_that_compute_wrongly_or_leave_a_gpu_unused_are_wrong(monkeypatch):
    assert not doctor.check_devices().advice
    message = 'this machine has 1 NVIDIA GPU, but JAX runs on the CPU: pip install "jax[cuda13]"'
    monkeypatch.setattr(accelerator, "unused_gpus", lambda: message)
    wrong(doctor.check_devices(), "JAX runs on the CPU", "jax[cuda13]")
    monkeypatch.setattr(jnp, "ones", lambda shape: jnp.full(shape, 2.0))
    wrong(doctor.check_devices(), "convolution")


def test_an_old_driver_is_wrong(tmp_path):
    assert not doctor.check_driver(tmp_path).advice
    write(tmp_path, dev__nvidia0="", proc__driver__nvidia__version="Kernel Module  470.57.02  Wed")
    wrong(doctor.check_driver(tmp_path), "470.57.02", "update")


def test_the_limit_of_a_container_counts_as_memory(tmp_path):
    write(tmp_path, proc__meminfo="MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    assert not doctor.check_memory(tmp_path).advice
    write(tmp_path / "sys/fs/cgroup", **{"memory.max": "max", "memory.current": "0"})
    assert "8.0 of 16.0 GiB" in doctor.check_memory(tmp_path).message
    write(tmp_path / "sys/fs/cgroup", **{"memory.max": f"{4 * 2**30}"})
    write(tmp_path / "sys/fs/cgroup", **{"memory.current": f"{3 * 2**30}"})
    wrong(doctor.check_memory(tmp_path), "1.0 of 4.0 GiB")


def test_the_quota_of_a_container_is_shown_with_the_cores(tmp_path):
    write(tmp_path / "sys/fs/cgroup", **{"cpu.max": "150000 100000"})
    assert "1.5 of them by quota" in doctor.check_cores(tmp_path).message


def test_a_full_disk_is_wrong(tmp_path, monkeypatch):
    assert not doctor.check_disk(tmp_path / "runs").advice
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=2**20))
    wrong(doctor.check_disk(tmp_path / "runs"), "0 GB free", str(tmp_path / "runs"))


def test_two_packages_of_opencv_or_one_without_superpixels_are_wrong(monkeypatch):
    assert not doctor.check_opencv().advice
    with monkeypatch.context() as patch:
        patch.delattr(cv2, "ximgproc")
        wrong(doctor.check_opencv(), "ximgproc")
    both = [types.SimpleNamespace(name=f"opencv{x}-python") for x in ("", "-contrib")]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: both)
    wrong(doctor.check_opencv(), "pip uninstall -y opencv-contrib-python opencv-python")


def test_a_record_that_changes_is_wrong(monkeypatch):
    assert not doctor.check_records().advice
    read = grain.sources.ArrayRecordDataSource

    def damaged(path):
        return [read(path)[0].replace(b"\x05", b"\x06")]

    monkeypatch.setattr(grain.sources, "ArrayRecordDataSource", damaged)
    wrong(doctor.check_records(), "other values")


def test_a_checkpoint_that_changes_is_wrong(monkeypatch):
    assert not doctor.check_checkpoints().advice
    zeros = {"params": {"head": {"kernel": jnp.zeros(4)}}}
    monkeypatch.setattr(checkpoints, "load_variables", lambda folder: zeros)
    wrong(doctor.check_checkpoints(), "other values")


def test_compiled_programs_that_can_not_be_kept_are_wrong(tmp_path, monkeypatch):
    assert not doctor.check_compile_cache().advice
    monkeypatch.setattr(compile_cache, "enable", lambda: None)
    wrong(doctor.check_compile_cache(), "JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(compile_cache, "enable", lambda: pathlib.Path("/proc/self"))
    wrong(doctor.check_compile_cache(), "/proc/self")


def test_a_locale_without_utf_8_is_wrong(monkeypatch):
    assert not doctor.check_locale().advice
    monkeypatch.setattr(locale, "getpreferredencoding", lambda setlocale: "ANSI_X3.4-1968")
    wrong(doctor.check_locale(), "ANSI_X3.4-1968", "C.UTF-8")


def test_a_slow_disk_and_one_that_can_not_be_written_are_wrong(tmp_path, monkeypatch):
    assert "MB/s" in doctor.check_write_speed(tmp_path).message
    wrong(doctor.check_write_speed(pathlib.Path("/proc/run")), "/proc can't be written")
    times = iter((0.0, 8.0))
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(times))
    wrong(doctor.check_write_speed(tmp_path), "1 MB/s", "faster disk")


def test_a_check_that_fails_is_a_finding():
    def broken():
        raise ImportError("libcudnn.so.9: cannot open shared object file")

    ((name, finding),) = doctor.examine({"devices": broken})
    assert name == "devices"
    wrong(finding, "ImportError: libcudnn.so.9")


@pytest.mark.parametrize("advice", ["", "pip install it"])
def test_the_status_says_whether_something_is_wrong(monkeypatch, capsys, advice):
    named = {"disk": lambda: doctor.Finding("1 GB free"), "it": lambda: doctor.Finding("x", advice)}
    monkeypatch.setattr(doctor, "checks", lambda workdir: named)
    arguments = types.SimpleNamespace(workdir=pathlib.Path(), report=False)
    assert doctor.main(arguments) == (1 if advice else 0)  # pyright: ignore
    assert ("WRONG" in capsys.readouterr().out) == bool(advice)


def test_a_report_names_neither_user_nor_host(monkeypatch, capsys):
    monkeypatch.setattr(doctor.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(doctor.platform, "node", lambda: "engine-7")
    monkeypatch.setattr(pathlib.Path, "home", lambda: pathlib.Path("/home/ada"))
    message = "/home/ada/runs, /scratch/ada/x on engine-7, adapt"
    monkeypatch.setattr(doctor, "checks", lambda workdir: {"a": lambda: doctor.Finding(message)})
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/scratch/ada")
    monkeypatch.setenv("TOKEN", "secret")
    doctor.main(types.SimpleNamespace(workdir=pathlib.Path(), report=True))  # pyright: ignore
    shown = capsys.readouterr().out
    assert "~/runs, /scratch/USER/x on HOST, adapt" in shown
    assert "JAX_COMPILATION_CACHE_DIR=/scratch/USER" in shown and "jax " in shown
    assert "secret" not in shown


def test_an_interpreter_without_the_packages_is_named():
    finding = doctor.check_packages(["numpy>=2", "no-such-package>=2", "nor-such-package>=2"])
    wrong(finding, "activate the environment")
    assert f"{sys.executable} lacks 2 of 3 packages" in finding.message
