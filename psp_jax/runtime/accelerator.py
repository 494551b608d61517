"""Finds GPUs of this machine that JAX does not use."""

import os
import pathlib
import re
import sys
from typing import Any

import jax

CUDA_13_DRIVER, CUDA_12_DRIVER = 580, 525  # Oldest drivers of the two, from NVIDIA's tables.


def gpu_count(root: pathlib.Path = pathlib.Path("/")) -> int:
    """Returns how many NVIDIA GPUs the kernel shows, whether or not JAX can use them."""
    return len([*root.glob("dev/nvidia[0-9]*")])


def driver_version(root: pathlib.Path = pathlib.Path("/")) -> str | None:
    """Returns the version of the NVIDIA driver, such as `580.65.06`; None if there is none."""
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    match = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return match[1] if match else None


def install_line(driver: str | None) -> str:
    """Returns what installs a JAX for the GPUs of a driver."""
    major = int(driver.partition(".")[0]) if driver else CUDA_13_DRIVER
    if major < CUDA_12_DRIVER:
        return f"update the NVIDIA driver to {CUDA_13_DRIVER} or newer"
    return f'pip install -U "jax[cuda{13 if major >= CUDA_13_DRIVER else 12}]"'


def unused_gpus(root: pathlib.Path = pathlib.Path("/")) -> str | None:
    """Describes GPUs that JAX can't use; None if there are none, or none are wanted.

    None are wanted where `JAX_PLATFORMS` or `CUDA_VISIBLE_DEVICES` hides them.
    """
    count = gpu_count(root)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    config: Any = jax.config
    hidden = hidden or config.jax_platforms == "cpu"
    if not count or hidden or jax.default_backend() != "cpu":
        return None
    driver = driver_version(root)
    return (
        f"this machine has {count} NVIDIA GPU{'s' if count > 1 else ''} (driver "
        f"{driver or 'unknown'}), but JAX runs on the CPU: {install_line(driver)}"
    )


def warn_of_unused_gpus() -> None:
    """Prints a line to stderr if there are GPUs that JAX can't use."""
    if unused := unused_gpus():
        print(f"warning: {unused}", file=sys.stderr)
