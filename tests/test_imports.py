"""Imports between packages point to lower rows only, and each library has its owners."""

import ast
import graphlib
import pathlib
import subprocess
import sys
from collections import Counter

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# From the bottom up. A module imports its own row and those below it, without cycles.
ROWS = (
    ("io",),
    ("partition", "codec", "recordings", "batch"),
    ("models", "objectives", "metrics", "augment"),
    ("tracking",),
    ("experiment", "phases", "prepared", "presets"),
    ("optim", "state"),
    ("steps", "data", "runtime", "checkpoints", "weights"),
    ("evaluation", "init_from", "explore", "cache"),
    ("train", "calibrate", "evaluate", "dry_run"),
    ("main", "predict", "report", "doctor", "usage", "export"),
    ("__init__",),
)
ROW = {f"psp_jax.{name}": row for row, names in enumerate(ROWS) for name in names}
# Packages that may import less than their row allows.
LEAVES = {
    "psp_jax.io": {"psp_jax.io"},
    "psp_jax.partition": {"psp_jax.io", "psp_jax.partition"},
    "psp_jax.codec": {"psp_jax.io", "psp_jax.partition", "psp_jax.recordings", "psp_jax.codec"},
    "psp_jax.recordings": {"psp_jax.io", "psp_jax.partition", "psp_jax.recordings"},
    "data_builders": {"psp_jax.io", "psp_jax.partition", "psp_jax.recordings"},
}
# Packages that only these places may import.
OWNERS = {
    "flax": ("psp_jax/models/",),
    "orbax": ("psp_jax/checkpoints.py", "psp_jax/runtime/processes.py"),
    "grain": ("psp_jax/data.py", "psp_jax/doctor.py"),
    "tensorflow_datasets": ("psp_jax/data.py", "psp_jax/doctor.py", "data_builders/"),
    "ml_collections": ("psp_jax/main.py",),
    "absl": ("psp_jax/main.py",),
    "cv2": (
        "psp_jax/data.py",
        "psp_jax/partition/",
        "psp_jax/recordings/",
        "psp_jax/codec/",
        "psp_jax/evaluation/views.py",
        "psp_jax/predict/",
        "psp_jax/explore.py",
        "psp_jax/doctor.py",
        "data_builders/",
    ),
    "av": ("psp_jax/recordings/video.py", "psp_jax/predict/films.py"),
    "simplejpeg": ("psp_jax/recordings/image_faults.py",),
    "numba": ("psp_jax/partition/",),
    "bioimage_cpp": ("psp_jax/partition/decode.py",),
    "matplotlib": ("psp_jax/evaluation/plots.py",),
    "h5py": ("psp_jax/weights/hdf5.py", "psp_jax/recordings/nyu.py"),
    "safetensors": ("psp_jax/weights/",),
    "wandb": ("psp_jax/tracking.py",),
    "mlflow": ("psp_jax/tracking.py",),
}
FORBIDDEN = {"tensorflow", "torch", "configs", "tests", "benchmarks"}
SOURCES = sorted([*ROOT.glob("psp_jax/**/*.py"), *ROOT.glob("data_builders/**/*.py")])


def name_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in SOURCES}


def package_of(module: str) -> str:
    first, _, rest = module.partition(".")
    if first != "psp_jax":
        return first
    return f"psp_jax.{rest.partition('.')[0] or '__init__'}"


def imported(path: pathlib.Path) -> set[str]:
    """Full names of what a file imports; of our own, the modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in MODULES or node.module not in MODULES else node.module)
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    relative, own = str(path.relative_to(ROOT)), package_of(name_of(path))
    for name in imported(path):
        package = name.partition(".")[0]
        assert package not in FORBIDDEN, name
        assert relative.startswith(OWNERS.get(package, ("",))), f"{name}: {OWNERS[package]}"
        if own in LEAVES and package == "psp_jax":
            assert package_of(name) in LEAVES[own], f"{own} must not import {name}"
        elif own != "data_builders":
            assert package != "data_builders", "the builder writes files, data.py reads them"
            if package == "psp_jax":
                assert ROW[package_of(name)] <= ROW[own], f"{own} must not import {name}"


def test_modules_form_no_cycle():
    graph = {module: imported(path) & MODULES.keys() for module, path in MODULES.items()}
    graph["psp_jax"] = set()  # It imports what it returns when it is called.
    graphlib.TopologicalSorter(graph).prepare()


def test_no_two_modules_share_a_name():
    names = [path.stem for path in SOURCES if "psp_jax" in path.parts]
    names += [path.name for path in (ROOT / "psp_jax").iterdir() if path.is_dir()]
    shared = {name for name, count in Counter(names).items() if count > 1}
    assert not shared - {"__init__", "__main__"}


def test_the_package_imports_in_a_moment():
    code = (
        "import time; t = time.perf_counter(); import psp_jax; "
        "assert time.perf_counter() - t < 2; import sys; "
        "assert not {'jax', 'tensorflow', 'torch', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
