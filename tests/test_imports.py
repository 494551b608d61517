"""The picture of DESIGN: imports point down only."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# From the bottom up: a module may import those below it, and its own package.
LAYERS = [
    [
        "psp_jax.parts",
        "psp_jax.resampling",
        "psp_jax.batch",
        "psp_jax.manifest",
        "psp_jax.command_line",
    ],
    ["psp_jax.lock", "psp_jax.goodput"],
    ["psp_jax.losses", "psp_jax.bins", "psp_jax.strips", "psp_jax.edges"],
    [
        "psp_jax.models",
        "psp_jax.objectives",
        "psp_jax.partition",
        "psp_jax.metrics",
        "psp_jax.frontier_metrics",
        "psp_jax.sliding",
    ],
    [
        "psp_jax.pictures",
        "psp_jax.journal",
        "psp_jax.experiment",
        "psp_jax.figures",
        "psp_jax.regions",
        "psp_jax.tables",
    ],
    ["psp_jax.optim", "psp_jax.state", "psp_jax.presets", "psp_jax.sharding"],
    [
        "psp_jax.steps",
        "psp_jax.data",
        "psp_jax.checkpoints",
        "psp_jax.termination",
        "psp_jax.finiteness",
    ],
    [
        "psp_jax.summary",
        "psp_jax.evaluation",
        "psp_jax.feature_cache",
        "psp_jax.explore",
        "psp_jax.codec",
        "psp_jax.weights",
    ],
    ["psp_jax.ceiling"],
    ["psp_jax.results"],
    ["psp_jax.train", "psp_jax.predict", "psp_jax.calibrate"],
    ["psp_jax.main", "psp_jax.report"],
    ["psp_jax"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Packages that only one place may know.
OWNERS = {
    "flax": "psp_jax/models/",
    "orbax": "psp_jax/checkpoints.py",
    "grain": "psp_jax/data.py",
    "array_record": "psp_jax/feature_cache.py",
    "tensorflow_datasets": ("psp_jax/data.py", "data_builders/"),
    "ml_collections": "psp_jax/main.py",
    "absl": ("psp_jax/main.py", "psp_jax/codec.py", "data_builders/"),
    "cv2": (
        "psp_jax/partition/",
        "psp_jax/predict/",
        "psp_jax/explore.py",
        "psp_jax/codec.py",
        "data_builders/",
    ),
    "numba": "psp_jax/partition/",
    "bioimage_cpp": "psp_jax/partition/decode.py",
    "matplotlib": "psp_jax/pictures.py",
    "h5py": "psp_jax/weights/hdf5.py",
    "safetensors": "psp_jax/weights/",
}
# Programs that read people's own files with the builder's readers.
READERS = ("psp_jax.explore", "psp_jax.codec", "psp_jax.predict.frames")
FORBIDDEN = {"tensorflow", "torch"}
SOURCES = sorted([*ROOT.glob("psp_jax/**/*.py"), *ROOT.glob("data_builders/**/*.py")])


def imported(path: pathlib.Path) -> set[str]:
    """Full names of what a file imports, functions and classes included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str | None:
    """The entry of `LAYERS` that a module or a name in it belongs to."""
    if module == "psp_jax":
        return module
    rooms = (name for name in LEVEL if name != "psp_jax")
    return next((n for n in rooms if module == n or module.startswith(n + ".")), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    relative = path.relative_to(ROOT)
    module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    own = room_of(module)
    for name in imported(path):
        package = name.partition(".")[0]
        assert package not in FORBIDDEN
        if package in OWNERS:
            owners = OWNERS[package]
            assert str(relative).startswith(owners), f"{package} belongs to {owners}"
        if package == "configs":
            raise AssertionError("nothing imports a config")
        if module.startswith("psp_jax") and module not in READERS:
            assert package != "data_builders", "the builder writes files, data.py reads them"
        if package != "psp_jax":
            continue
        target = room_of(name)
        if module.startswith("data_builders"):
            known = ("psp_jax.partition", "psp_jax.manifest")
            assert target in known, f"{name}: builders know {' and '.join(known)} only"
        elif own != target:
            assert own in LEVEL and target in LEVEL, f"{module} -> {name}: not in the picture"
            assert LEVEL[target] < LEVEL[own], f"{module} must not import {name}"


def test_the_package_imports_in_a_moment():
    code = (
        "import time; t = time.perf_counter(); import psp_jax; "
        "assert time.perf_counter() - t < 2; import sys; "
        "assert not {'jax', 'tensorflow', 'torch', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
