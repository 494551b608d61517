import types

import pytest

from psp_jax.runtime import accelerator

VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Wed Jul 12 00:00:00 UTC 2026\n"


def machine(root, driver, gpus):
    (root / "dev").mkdir()
    for index in range(gpus):
        (root / f"dev/nvidia{index}").touch()
    (root / "dev/nvidiactl").touch()
    if driver:
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text(VERSION.format(driver))
    return root


@pytest.fixture
def wanted(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = types.SimpleNamespace(jax_platforms=None)
    monkeypatch.setattr(accelerator.jax, "config", config)
    return config


@pytest.mark.parametrize(
    ("driver", "advice"),
    [
        ("580.65.06", "jax[cuda13]"),
        ("535.104.05", "jax[cuda12]"),
        ("470.57.02", "update the NVIDIA driver"),
        (None, "jax[cuda13]"),
    ],
)
def test_a_gpu_that_jax_can_not_use_comes_with_what_installs_it(tmp_path, wanted, driver, advice):
    message = accelerator.unused_gpus(machine(tmp_path, driver, 2))
    assert message is not None
    assert "2 NVIDIA GPUs" in message and (driver or "unknown") in message and advice in message


def test_the_version_of_an_open_driver_is_read(tmp_path):
    root = machine(tmp_path, None, 1)
    (root / "proc/driver/nvidia").mkdir(parents=True)
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n"
    (root / "proc/driver/nvidia/version").write_text(text)
    assert accelerator.driver_version(root) == "580.95.05"


def test_no_gpu_and_a_hidden_gpu_are_no_matter(tmp_path, wanted, monkeypatch):
    assert accelerator.unused_gpus(tmp_path) is None
    root = machine(tmp_path, "580.65.06", 1)
    assert accelerator.unused_gpus(root) is not None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert accelerator.unused_gpus(root) is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    wanted.jax_platforms = "cpu"
    assert accelerator.unused_gpus(root) is None
