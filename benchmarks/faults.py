"""Damages files of runs and data sets at random, and counts how many faults are detected.

Run `python -m benchmarks.faults [--faults=700] [--seed=0]`. A fault is "caught" if an error or a
message names it, "harmless" if everything that is read equals what was written, and "silent"
otherwise. Ends with status 1 if any fault was silent.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import damage
from configs import depth_mse
from data_builders.rooms import generate
from data_builders.scannet_frontiers import configurations
from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset
from psp_jax import checkpoints, codec, data, experiment, state
from psp_jax.io import command_line
from psp_jax.partition import frontier_classes

CAUGHT, HARMLESS, SILENT = "caught", "harmless", "silent"
STEPS = (7, 8)
# Damages a file in the folder, reads it, and returns the outcome.
Inject = Callable[[pathlib.Path, np.random.Generator], str]


def at(step: int) -> state.TrainState:
    """Returns a state with random arrays, seeded by its step."""
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
    """Returns a random non-empty file in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    return sorted(files)[rng.integers(len(files))]


def resumption(way: str) -> Inject:
    """Damages a file of the latest checkpoint; the run has to stop, and resume when asked."""

    def inject(workdir: pathlib.Path, rng: np.random.Generator) -> str:
        latest = workdir / checkpoints.FOLDER / str(STEPS[1])
        path = any_file(latest, rng)
        before = path.read_bytes()
        damage.WAYS[way](path, rng)
        if path.exists() and path.read_bytes() == before:
            return HARMLESS
        damaged = damage.contents(workdir)
        with checkpoints.Store(workdir, keep=2) as store:
            try:
                store.choose(needs_optimizer=lambda step: True)
                return SILENT
            except OSError as error:
                named = f"step {STEPS[1]}: " in str(error)
            step = store.choose(STEPS[0], needs_optimizer=lambda step: True)
            good = equal(store.load_variables(step), at(STEPS[0]).variables)
        return CAUGHT if named and good and damage.contents(workdir) == damaged else SILENT

    return inject


def stray_folder(workdir: pathlib.Path, rng: np.random.Generator) -> str:
    """Creates an empty folder with the name of a later step."""
    (workdir / checkpoints.FOLDER / str(rng.integers(9, 99))).mkdir()
    with checkpoints.Store(workdir, keep=2) as store:
        return CAUGHT if store.choose(needs_optimizer=lambda step: True) == STEPS[1] else SILENT


def notebook(workdir: pathlib.Path, rng: np.random.Generator) -> str:
    """Flips a bit of the latest checkpoint; reading must skip it and change no file."""
    latest = workdir / checkpoints.FOLDER / str(STEPS[1])
    damage.flip(any_file(latest / "variables", rng), rng)
    before, output = damage.contents(workdir), io.StringIO()
    with contextlib.redirect_stdout(output):
        variables = checkpoints.load_variables(workdir)
    good = (
        equal(variables, at(STEPS[0]).variables)
        and f"checkpoint {STEPS[1]} of" in output.getvalue()
    )
    return CAUGHT if good and damage.contents(workdir) == before else SILENT


def records(folder: pathlib.Path) -> list[dict]:
    """Reads all examples of a data set."""
    splits = data.open_splits(str(folder)).values()
    return [examples[index] for examples in splits for index in range(len(examples))]


def flip_used(path: pathlib.Path, rng: np.random.Generator) -> bool:
    """Flips a bit of a non-zero byte: half of a small shard is padding."""
    content = np.fromfile(path, np.uint8)
    content[rng.choice(np.flatnonzero(content))] ^= 1 << rng.integers(8)
    content.tofile(path)
    return True


def prepared(pattern: str, way: Callable, expected: list[dict]) -> Inject:
    """Damages a file of a data set."""

    def inject(folder: pathlib.Path, rng: np.random.Generator) -> str:
        files = sorted(folder.glob(pattern))
        way(files[rng.integers(len(files))], rng)
        try:
            examples = records(folder)
        except OSError:
            return CAUGHT
        same = len(examples) == len(expected) and equal(examples, expected)
        return HARMLESS if same else SILENT

    return inject


def stream(folder: pathlib.Path, rng: np.random.Generator) -> str:
    """Flips a bit of a coded depth image."""
    path = folder / "depth.psp"
    original = codec.decode(path.read_bytes())
    damage.flip(path, rng)
    try:
        decoded = codec.decode(path.read_bytes())
    except ValueError:
        return CAUGHT
    return HARMLESS if equal(decoded, original) else SILENT


def config_of(config: experiment.Experiment) -> Inject:
    """Flips a bit of the config in a workdir, then compares it as the same command would."""

    def inject(folder: pathlib.Path, rng: np.random.Generator) -> str:
        damage.flip(folder / experiment.CONFIG_FILE, rng)
        try:
            return CAUGHT if experiment.differences(config, folder) else HARMLESS
        except ValueError:
            return CAUGHT

    return inject


def build(root: pathlib.Path) -> pathlib.Path:
    """Builds a data set of a few small rooms and returns its folder."""
    rooms = generate.Rooms(spaces=3, frames_per_scan=3, depth_height=48, depth_width=64)
    generate.generate(rooms, root / "rooms")
    size = rooms.depth_height, rooms.depth_width
    config = dataclasses.replace(configurations.named("rooms"), name="faults", size=size)
    builder = dataset.Builder(config=config, data_dir=root / "data")
    dataset.build(builder, manual_dir=str(root / "rooms"))
    return pathlib.Path(builder.data_path)


def kinds(root: pathlib.Path) -> dict[str, tuple[pathlib.Path, Inject, int]]:
    """Writes the files to damage; returns folder, function and share of the faults by kind."""
    workdir = root / "workdir"
    with checkpoints.Store(workdir, keep=2) as store:
        for step in STEPS:
            store.save(at(step))
    rng = np.random.default_rng(0)
    folder = build(root)
    expected = records(folder)
    coded, run = root / "coded", root / "run"
    coded.mkdir()
    run.mkdir()
    labels = frontier_classes.split_connected(
        np.kron(np.arange(12).reshape(3, 4), np.ones((8, 8), int))
    )
    depth = rng.integers(500, 5000, labels.shape).astype(np.uint16)
    (coded / "depth.psp").write_bytes(codec.encode(depth, labels, trade=1e-6))
    config = depth_mse.get_config("rooms")
    experiment.save(config, run)
    shards, json = "*.array_record*", "*.json"
    return {
        "checkpoint, flipped bit": (workdir, resumption("flip"), 20),
        "checkpoint, truncated": (workdir, resumption("truncate"), 10),
        "checkpoint, emptied": (workdir, resumption("empty"), 5),
        "checkpoint, zeroed block": (workdir, resumption("zero"), 5),
        "checkpoint, file deleted": (workdir, resumption("delete"), 5),
        "checkpoint, stray folder": (workdir, stray_folder, 2),
        "checkpoint in a notebook, flipped bit": (workdir, notebook, 5),
        "record shard, flipped bit": (folder, prepared(shards, flip_used, expected), 16),
        "record shard, zeroed block": (folder, prepared(shards, damage.zero, expected), 4),
        "record shard, truncated": (folder, prepared(shards, damage.truncate, expected), 4),
        "record shard, deleted": (folder, prepared(shards, damage.delete, expected), 2),
        "description of the data, flipped bit": (folder, prepared(json, damage.flip, expected), 6),
        "config.json, flipped bit": (run, config_of(config), 6),
        "coded depth, flipped bit": (coded, stream, 10),
    }


def main(arguments: argparse.Namespace) -> int:
    """Injects the faults and prints the number of outcomes by kind."""
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        every = kinds(root)
        scale = arguments.faults / sum(share for *_, share in every.values())
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
    return 1 if total[SILENT] else 0


def _line(name: str, outcomes: collections.Counter) -> str:
    counts = "".join(f"{outcomes[each]:10}" for each in (CAUGHT, HARMLESS, SILENT))
    return f"{name:40}{outcomes.total():10}{counts}"


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--faults", type=command_line.positive_int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
