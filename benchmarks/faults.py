"""Damages what runs and builds have written, at random, and says what came of it.

Run `python -m benchmarks.faults [--faults=700] [--seed=0]`. A fault is caught where an error or a
line names it, harmless where all that is read is what was written, and silent otherwise. Ends with
status 1 if any was silent.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax import checkpoints, codec, data, experiment, state
from psp_jax.partition import frontier_classes
from tests import damage, experiments, scans

CAUGHT, HARMLESS, SILENT = "caught", "harmless", "silent"
STEPS = (7, 8)
# An inject is given a folder of its own and damages what is in there; it returns the outcome.
Inject = Callable[[pathlib.Path, np.random.Generator], str]


def at(step: int) -> state.TrainState:
    """A state whose arrays are random by its step."""
    rng = np.random.default_rng(step)
    variables = {
        "params": {"head": jnp.asarray(rng.normal(size=(64, 64)), jnp.float32)},
        "batch_stats": {"head": jnp.asarray(rng.normal(size=64), jnp.float32)},
    }
    return state.create(variables, optax.adam(1e-3), ("head",), step)


def equal(first: object, second: object) -> bool:
    """Compares two trees to the last bit."""
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), first, second))


def any_file(folder: pathlib.Path, rng: np.random.Generator) -> pathlib.Path:
    """Draws one of the files in a folder that hold anything."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    return sorted(files)[rng.integers(len(files))]


def resumption(way: str) -> Inject:
    """Damages a file of the newest step; the run has to go on from the one before it."""

    def inject(workdir: pathlib.Path, rng: np.random.Generator) -> str:
        newest = workdir / checkpoints.FOLDER / str(STEPS[1])
        path = any_file(newest, rng)
        before = path.read_bytes()
        damage.WAYS[way](path, rng)
        if path.exists() and path.read_bytes() == before:
            return HARMLESS
        said = io.StringIO()
        with contextlib.redirect_stdout(said), checkpoints.Store(workdir, keep=2) as store:
            step = store.latest_step()
            found = store.load_variables(step or 0)
        named = f"checkpoint {STEPS[1]} of" in said.getvalue()
        kept = (workdir / checkpoints.DAMAGED_FOLDER / str(STEPS[1])).is_dir()
        good = step == STEPS[0] and equal(found, at(STEPS[0]).variables)
        return CAUGHT if named and kept and good else SILENT

    return inject


def stray_folder(workdir: pathlib.Path, rng: np.random.Generator) -> str:
    """Leaves an empty folder with the name of a later step."""
    (workdir / checkpoints.FOLDER / str(rng.integers(9, 99))).mkdir()
    with contextlib.redirect_stdout(io.StringIO()), checkpoints.Store(workdir, keep=2) as store:
        return CAUGHT if store.latest_step() == STEPS[1] else SILENT


def notebook(workdir: pathlib.Path, rng: np.random.Generator) -> str:
    """Flips a bit of the newest step, which who only reads passes over."""
    damage.flip(any_file(workdir / checkpoints.FOLDER / str(STEPS[1]), rng), rng)
    before, said = damage.contents(workdir), io.StringIO()
    with contextlib.redirect_stdout(said):
        found = checkpoints.load_variables(workdir)
    good = equal(found, at(STEPS[0]).variables) and "passed over" in said.getvalue()
    return CAUGHT if good and damage.contents(workdir) == before else SILENT


def records(folder: pathlib.Path) -> list[dict]:
    """Reads everything a prepared data set holds."""
    splits = data.open_splits(str(folder)).values()
    return [examples[index] for examples in splits for index in range(len(examples))]


def flip_used(path: pathlib.Path, rng: np.random.Generator) -> bool:
    """Flips a bit of a byte that is not zero: half of a small shard is padding."""
    content = np.fromfile(path, np.uint8)
    content[rng.choice(np.flatnonzero(content))] ^= 1 << rng.integers(8)
    content.tofile(path)
    return True


def prepared(pattern: str, way: Callable, expected: list[dict]) -> Inject:
    """Damages a file of a prepared data set."""

    def inject(folder: pathlib.Path, rng: np.random.Generator) -> str:
        files = sorted(folder.glob(pattern))
        way(files[rng.integers(len(files))], rng)
        try:
            found = records(folder)
        except OSError:
            return CAUGHT
        return HARMLESS if len(found) == len(expected) and equal(found, expected) else SILENT

    return inject


def stream(folder: pathlib.Path, rng: np.random.Generator) -> str:
    """Flips a bit of a coded depth image."""
    path = folder / "depth.psp"
    whole = codec.decode(path.read_bytes())
    damage.flip(path, rng)
    try:
        found = codec.decode(path.read_bytes())
    except ValueError:
        return CAUGHT
    return HARMLESS if equal(dataclasses.astuple(found), dataclasses.astuple(whole)) else SILENT


def config_of(config: experiment.Experiment) -> Inject:
    """Flips a bit of the config that a workdir holds; the same command is then run there."""

    def inject(folder: pathlib.Path, rng: np.random.Generator) -> str:
        damage.flip(folder / experiment.CONFIG_FILE, rng)
        try:
            return CAUGHT if experiment.differences(config, folder) else HARMLESS
        except ValueError:
            return CAUGHT

    return inject


def kinds(root: pathlib.Path) -> dict[str, tuple[pathlib.Path, Inject, int]]:
    """Writes what is damaged; returns by kind its folder, the inject, and the share of faults."""
    workdir = root / "workdir"
    with checkpoints.Store(workdir, keep=2) as store:
        for step in STEPS:
            store.save(at(step))
    rng = np.random.default_rng(0)
    for space in range(9000, 9006):
        scans.write_scan(
            root / "scans", f"scene{space}_00", [scans.make_frame(rng) for _ in range(2)]
        )
    builder = dataset.Builder(config=scans.small_config(), data_dir=root / "data")
    dataset.build(builder, manual_dir=str(root / "scans"))
    folder = pathlib.Path(builder.data_path)
    expected = records(folder)
    coded, run = root / "coded", root / "run"
    coded.mkdir()
    run.mkdir()
    labels = frontier_classes.split_connected(
        np.kron(np.arange(12).reshape(3, 4), np.ones((8, 8), int))
    )
    depth = rng.integers(500, 5000, labels.shape).astype(np.uint16)
    (coded / "depth.psp").write_bytes(codec.encode(depth, labels, trade=1e-6))
    config = experiments.make_tiny(root / "data")
    experiment.save(config, run)
    shards, json = "*.array_record*", "*.json"
    return {
        "checkpoint, flipped bit": (workdir, resumption("flip"), 20),
        "checkpoint, cut off": (workdir, resumption("truncate"), 10),
        "checkpoint, emptied": (workdir, resumption("empty"), 5),
        "checkpoint, zeroed block": (workdir, resumption("zero"), 5),
        "checkpoint, file deleted": (workdir, resumption("delete"), 5),
        "checkpoint, stray folder": (workdir, stray_folder, 2),
        "checkpoint in a notebook, flipped bit": (workdir, notebook, 5),
        "record shard, flipped bit": (folder, prepared(shards, flip_used, expected), 16),
        "record shard, zeroed block": (folder, prepared(shards, damage.zero, expected), 4),
        "record shard, cut off": (folder, prepared(shards, damage.truncate, expected), 4),
        "record shard, deleted": (folder, prepared(shards, damage.delete, expected), 2),
        "description of the data, flipped bit": (folder, prepared(json, damage.flip, expected), 6),
        "config.json, flipped bit": (run, config_of(config), 6),
        "coded depth, flipped bit": (coded, stream, 10),
    }


def main() -> None:
    """Injects the faults and prints what came of them, by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        every = kinds(root)
        scale = options.faults / sum(share for *_, share in every.values())
        print(f"{'kind':40}{'injected':>10}{CAUGHT:>10}{HARMLESS:>10}{SILENT:>10}")
        total = collections.Counter()
        for name, (folder, inject, share) in every.items():
            outcomes = collections.Counter()
            for _ in range(max(round(share * scale), 1)):
                copy = root / "copy"
                shutil.copytree(folder, copy)
                outcomes[inject(copy, rng)] += 1
                shutil.rmtree(copy)
            total += outcomes
            print(_line(name, outcomes), flush=True)
        print(_line("all", total))
    sys.exit(1 if total[SILENT] else 0)


def _line(name: str, outcomes: collections.Counter) -> str:
    counts = "".join(f"{outcomes[each]:10}" for each in (CAUGHT, HARMLESS, SILENT))
    return f"{name:40}{outcomes.total():10}{counts}"


if __name__ == "__main__":
    main()
