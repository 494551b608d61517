"""Checks an installation: `python -m psp_jax.doctor`.

Prints one line per check, and what to do where something is wrong; the status is then 1, else 0.
`--report` adds versions and settings for a bug report, without names of user, host and home folder.
"""

import argparse
import contextlib
import dataclasses
import getpass
import importlib.metadata
import locale
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from psp_jax.io import command_line
from psp_jax.io.version import __version__

MIN_FREE_BYTES = 2**30  # A checkpoint of ResNet-101-PSPNet takes 0.8 GB.
MIN_MEMORY_BYTES = 2 * 2**30  # The experiments on rooms take 1.7 GB.
MIN_WRITE_MB_PER_S = 20.0  # Slower disks stall a run at every checkpoint.
_WRITTEN_MB = 8
_SETTINGS = re.compile(r"JAX_|XLA_|CUDA_|OMP_|NVIDIA_|(LD_LIBRARY_PATH|PYTHONPATH|LC_ALL|LANG)$")


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        message: what there is.
        advice: what to do; empty if all is well.
    """

    message: str
    advice: str = ""


def check_packages(requirements: list[str] | None = None) -> Finding:
    """Compares the installed versions with those that psp_jax requires.

    Args:
        requirements: as in package metadata; None for those of psp_jax.
    """
    from packaging.requirements import Requirement

    try:
        required = requirements or importlib.metadata.requires("psp_jax") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("psp_jax is not installed", "pip install -e . in its folder")
    needed, wrong, missing = map(Requirement, required), [], 0
    needed = [each for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version, missing = "none", missing + 1
        if version == "none" or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement} (got {version})")
    if missing > len(needed) / 2:
        message = f"{sys.executable} lacks {missing} of {len(needed)} packages"
        return Finding(message, "activate the environment of psp_jax, or pip install -e .")
    if wrong:
        plain = " ".join(f"'{each.partition(' (')[0]}'" for each in wrong)
        return Finding(f"expected {', '.join(wrong)}", f"pip install {plain}")
    versions = _versions("jax", "flax", "numpy")
    return Finding(f"psp_jax {__version__}, Python {platform.python_version()}, {versions}")


def check_devices() -> Finding:
    """Lists the devices of JAX and computes a convolution on them; GPUs should be among them."""
    import jax
    import jax.numpy as jnp

    from psp_jax.runtime import accelerator

    try:
        devices = jax.devices()
    except RuntimeError as error:
        message = f"JAX finds no device: {str(error).splitlines()[0]}"
        return Finding(message, "unset JAX_PLATFORMS, or set it to cpu")
    image, kernel = jnp.ones((1, 1, 8, 8)), jnp.ones((1, 1, 3, 3))
    sums = jax.lax.conv(image, kernel, (1, 1), "VALID")
    if not (sums == 9).all():
        return Finding(f"a convolution on {devices[0].device_kind} is wrong", "reinstall jax")
    message = f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
    if unused := accelerator.unused_gpus():
        return Finding(f"{message}; {unused.partition(': ')[0]}", unused.partition(": ")[2])
    return Finding(message)


def check_driver(root: pathlib.Path = pathlib.Path("/")) -> Finding:
    """Checks that the driver of NVIDIA GPUs, if there are any, is new enough for JAX."""
    from psp_jax.runtime import accelerator

    count, driver = accelerator.gpu_count(root), accelerator.driver_version(root)
    if not count:
        return Finding("no NVIDIA GPU")
    if driver is None:
        return Finding(f"{count} NVIDIA GPUs, driver unknown")
    is_old = int(driver.partition(".")[0]) < accelerator.CUDA_12_DRIVER
    advice = accelerator.install_line(driver) if is_old else ""
    return Finding(f"{count} NVIDIA GPUs, driver {driver}", advice)


def check_memory(root: pathlib.Path = pathlib.Path("/")) -> Finding:
    """Checks the memory that is available, with the limits of containers."""
    text = (root / "proc/meminfo").read_text()
    kibibytes = {name: int(n) for name, n in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    total, free = (kibibytes[name] * 1024 for name in ("MemTotal", "MemAvailable"))
    for limit, used in (
        ("memory.max", "memory.current"),  # cgroup v2, and v1:
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit.
            limit_bytes, used_bytes = (
                int((root / "sys/fs/cgroup" / name).read_text()) for name in (limit, used)
            )
            total, free = min(total, limit_bytes), min(free, limit_bytes - used_bytes)
    advice = f"end other programs to free {MIN_MEMORY_BYTES / 2**30:.0f} GiB"
    message = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB available"
    return Finding(message, advice if free < MIN_MEMORY_BYTES else "")


def check_cores(root: pathlib.Path = pathlib.Path("/")) -> Finding:
    """Counts the cores that this process may use."""
    usable, count = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    message = f"{usable} of {count} cores"
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
        message += f", {int(quota) / int(period):.3g} of them by quota"
    return Finding(message)


def check_disk(workdir: pathlib.Path) -> Finding:
    """Checks the free space of the workdir, of the data folder and for temporary files."""
    folders = {"workdir": workdir, "data": pathlib.Path("data"), "temp": tempfile.gettempdir()}
    free = {name: shutil.disk_usage(_existing(path)).free for name, path in folders.items()}
    message = ", ".join(f"{name} {size / 1e9:.0f} GB free" for name, size in free.items())
    full = [str(folders[name]) for name, size in free.items() if size < MIN_FREE_BYTES]
    return Finding(message, f"free space for {' and '.join(full)}" if full else "")


def check_opencv() -> Finding:
    """Checks that one OpenCV is installed, and that it has the contributed modules."""
    names = {
        (each.name or "").lower().replace("_", "-") for each in importlib.metadata.distributions()
    }
    packages = sorted(name for name in names if re.match(r"opencv-.*python", name))
    advice = f"pip uninstall -y {' '.join(packages)} && pip install opencv-contrib-python-headless"
    if len(packages) > 1:
        return Finding(f"{' and '.join(packages)} overwrite each other's module cv2", advice)
    import cv2

    if not hasattr(cv2, "ximgproc"):
        return Finding(f"cv2 {cv2.__version__} lacks ximgproc, the superpixels", advice)
    parallel = re.search(r"Parallel framework:\s+(\S+)", cv2.getBuildInformation())
    threads = f"threads by {parallel[1]}" if parallel else "no threads"
    return Finding(f"{', '.join(packages) or 'cv2'} {cv2.__version__}, {threads}")


def check_records() -> Finding:
    """Writes and reads a record of a data set, as TFDS and Grain do."""
    import grain
    import numpy as np
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter  # pyright: ignore

    feature = tfds.features.Tensor(shape=(2, 3), dtype=np.uint16)
    features = tfds.features.FeaturesDict({"depth_mm": feature})
    depth_mm = np.arange(6, dtype=np.uint16).reshape(2, 3)
    with tempfile.TemporaryDirectory(prefix="psp_jax_") as folder:
        path = f"{folder}/tiny.array_record"
        writer = ArrayRecordWriter(path, "group_size:1")
        writer.write(features.serialize_example(features.encode_example({"depth_mm": depth_mm})))
        writer.close()
        (record,) = grain.sources.ArrayRecordDataSource(path)
        read: Any = features.deserialize_example_np(record)
    if not np.array_equal(read["depth_mm"], depth_mm):
        return Finding("a record was read with other values", _reinstall("array_record", "grain"))
    return Finding(f"written and read, {_versions('tensorflow-datasets', 'grain')}")


def check_checkpoints() -> Finding:
    """Saves and restores a tiny checkpoint."""
    import jax.numpy as jnp
    import numpy as np

    from psp_jax import checkpoints
    from psp_jax.state import TrainState

    params, stats = {"head": {"kernel": jnp.arange(4.0)}}, {"norm": {"mean": jnp.zeros(2)}}
    moments = {"head": {"kernel": jnp.ones(4)}}
    state = TrainState(jnp.asarray(1, jnp.int32), params, stats, moments)  # pyright: ignore
    with tempfile.TemporaryDirectory(prefix="psp_jax_") as folder:
        with checkpoints.Store(folder, keep=1) as store:
            store.save(state)
        restored = checkpoints.load_variables(folder)
    if not np.array_equal(restored["params"]["head"]["kernel"], np.arange(4.0)):
        return Finding(
            "a checkpoint was restored with other values", _reinstall("orbax-checkpoint")
        )
    return Finding(f"saved and restored, {_versions('orbax-checkpoint')}")


def check_compile_cache() -> Finding:
    """Checks that compiled programs can be kept."""
    from psp_jax.runtime import compile_cache

    folder = compile_cache.enable()
    if folder is None:
        return Finding(
            "compiled programs are not kept, so every run compiles again",
            "set JAX_COMPILATION_CACHE_DIR to a folder that can be written",
        )
    try:
        sizes = [entry.stat().st_size for entry in os.scandir(folder)] if folder.exists() else []
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        return Finding(f"{folder}: {error.strerror}", "set JAX_COMPILATION_CACHE_DIR to another")
    return Finding(f"{sum(sizes) / 1e6:.0f} MB in {folder}")


def check_locale() -> Finding:
    """Checks that names of files and text are UTF-8."""
    found = {locale.getpreferredencoding(False), sys.getfilesystemencoding()}
    wrong = {name for name in found if name.lower().replace("-", "") != "utf8"}
    if wrong:
        return Finding(f"text is {', '.join(sorted(wrong))}", "export LC_ALL=C.UTF-8")
    return Finding("UTF-8")


def check_write_speed(workdir: pathlib.Path) -> Finding:
    """Measures how fast the disk of the workdir takes what a checkpoint writes."""
    folder = _existing(workdir)
    content = os.urandom(2**20)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            start = time.perf_counter()
            for _ in range(_WRITTEN_MB):
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            speed = _WRITTEN_MB * 2**20 / 1e6 / (time.perf_counter() - start)
    except OSError as error:
        return Finding(f"{folder} can't be written: {error.strerror}", "pass another --workdir")
    advice = "put the workdir on a faster disk" if speed < MIN_WRITE_MB_PER_S else ""
    return Finding(f"{speed:.0f} MB/s in {folder}", advice)


def _existing(path: str | os.PathLike) -> pathlib.Path:
    """Returns the folder itself, or the nearest one above it that exists."""
    path = pathlib.Path(os.path.abspath(path))
    return next(each for each in (path, *path.parents) if each.is_dir())


def _versions(*names: str) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _reinstall(*names: str) -> str:
    return f"pip install --force-reinstall {' '.join(names)}"


def checks(workdir: pathlib.Path) -> dict[str, Callable[[], Finding]]:
    """Returns all checks by name, in the order in which they are shown."""
    return {
        "versions": check_packages,
        "devices": check_devices,
        "driver": check_driver,
        "memory": check_memory,
        "cores": check_cores,
        "disk": lambda: check_disk(workdir),
        "OpenCV": check_opencv,
        "records": check_records,
        "checkpoints": check_checkpoints,
        "compile cache": check_compile_cache,
        "locale": check_locale,
        "write speed": lambda: check_write_speed(workdir),
    }


def examine(named: dict[str, Callable[[], Finding]]) -> Iterator[tuple[str, Finding]]:
    """Runs checks one after the other; a check that fails is a finding, too."""
    for name, check in named.items():
        try:
            finding = check()
        except Exception as error:  # Of libraries that are damaged or absent: any type.
            lines = str(error).strip().splitlines() or [""]
            message = f"{type(error).__name__}: {lines[0]}"
            finding = Finding(message, "pip install --upgrade --force-reinstall -e .")
        yield name, finding


def anonymous(text: str) -> str:
    """Replaces the home folder and the names of user and host."""
    text = text.replace(str(pathlib.Path.home()), "~")
    for name, shown in ((getpass.getuser(), "USER"), (platform.node(), "HOST")):
        if name:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown, text)
    return text


def _surroundings() -> list[str]:
    """Lists the system, the versions of all packages required, and settings."""
    names = [re.split(r"[^\w.-]", line)[0] for line in importlib.metadata.requires("psp_jax") or []]
    installed = {each.name: each.version for each in importlib.metadata.distributions()}
    versions = [f"{name} {installed[name]}" for name in dict.fromkeys(names) if name in installed]
    settings = [f"{k}={v}" for k, v in sorted(os.environ.items()) if _SETTINGS.match(k)]
    return ["", platform.platform(), ", ".join(versions), *settings]


def main(arguments: argparse.Namespace) -> int:
    """Prints the findings; returns 1 if something is wrong."""
    clean: Callable[[str], str] = anonymous if arguments.report else str
    named, wrong = checks(arguments.workdir), 0
    for name, finding in examine(named):
        wrong += bool(finding.advice)
        print(clean(f"{'WRONG' if finding.advice else 'ok':<7}{name:<15}{finding.message}"))
        if finding.advice:
            print(clean(f"{'':<22}-> {finding.advice}"), flush=True)
    if arguments.report:
        print(clean("\n".join(_surroundings())))
    print(f"\n{len(named) - wrong} of {len(named)} checks passed")
    return 1 if wrong else 0


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m psp_jax.doctor", description=__doc__)
    parser.add_argument(
        "--workdir",
        type=command_line.path,
        default=pathlib.Path("runs"),
        help="folder whose disk is tested (runs)",
    )
    parser.add_argument("--report", action="store_true", help="text for a bug report")
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
