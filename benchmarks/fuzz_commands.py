"""Runs the commands on random folders, and checks what they promise for any of them.

Run `python -m benchmarks.fuzz_commands [--trees=300] [--seed=0]`. A tree holds images, depth
images, videos, recordings and coded depth, some of them damaged, next to files of other kinds,
under unusual names, with links and results of earlier commands. A command then runs on it twice.
There must be no traceback, no input may change, an error has one line and status 2, every image,
video and recording must be used or named, and the second run must give the outputs of the first.
Ends with status 1 otherwise, and prints the seed of each such tree.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Mapping
from unittest import mock

import jax
import numpy as np

import data_builders.scannet_frontiers.__main__ as builder_program
import psp_jax.codec.__main__ as codec_program
import psp_jax.predict.__main__ as predict_program
from benchmarks import damage, random_trees
from configs import depth_mse
from data_builders import sources
from data_builders.rooms import generate
from psp_jax import experiment, explore, train
from psp_jax.io import command_line
from psp_jax.models import resnet, segmenter
from psp_jax.recordings import inputs, scan_ids

# Kinds of files that commands read, and those of them that decode reads.
READ, CODED = (".jpg", ".png", ".avi", ".sens"), (".pdr",)
TIMED = "table.csv"  # Of explore: the same but for its times.


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        status: its exit status.
        output: what it printed.
        unused: why a path was not used, by path, as it was printed.
    """

    status: int
    output: str
    unused: Mapping[str, str]


def call(program, arguments: list[str], scratch: pathlib.Path) -> Outcome:
    """Runs a command as its own process would."""
    output, unused = io.StringIO(), {}
    tempfile.tempdir = str(scratch)  # Where unexpected errors leave their traceback.
    argv, sys.argv = sys.argv, [program.__name__, *arguments]
    lines_of, status = inputs.lines_of, 0

    def noted(paths: Mapping[str, str]) -> list[str]:
        unused.update(paths)
        return lines_of(paths)

    try:
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
            mock.patch.object(inputs, "lines_of", noted),
        ):
            command_line.run(program.main, program.parser())
    except SystemExit as done:
        status = int(done.code or 0)
    finally:
        sys.argv, tempfile.tempdir = argv, None
    return Outcome(status, output.getvalue(), unused)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the commands need.

    Attributes:
        recording: a `.sens` file.
        config: of the run.
        workdir: a finished run.
        results: folders with the results of each command.
    """

    recording: bytes
    config: experiment.Experiment
    workdir: pathlib.Path
    results: tuple[pathlib.Path, ...]


def prepare(root: pathlib.Path) -> Setup:
    """Draws rooms, trains a run for two steps, and runs each command once."""
    jax.config.update("jax_compilation_cache_dir", str(root / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    rooms = generate.Rooms(
        spaces=3,
        frames_per_scan=3,
        depth_height=random_trees.SIZE[0],
        depth_width=random_trees.SIZE[1],
    )
    config = depth_mse.get_config("rooms")
    config.data.source = sources.EmbeddedRooms(str(root / "data"), rooms)
    config.data.batch_size = 2
    config.model = segmenter.Segmenter(resnet.ResNet(10, width=4), dropout=0.0)
    config.phases = (dataclasses.replace(config.phases[0], steps=2, warmup_steps=0),)
    config.checkpoint_every, config.pictures = 1, 1
    train.run(config, str(root / "run"))
    recording = next((root / "data").rglob("*.sens")).read_bytes()
    return Setup(recording, config, root / "run", _results(root / "results", root / "run"))


def _results(root: pathlib.Path, workdir: pathlib.Path) -> tuple[pathlib.Path, ...]:
    rng = np.random.default_rng(0)
    photo, depth = root / "in" / "photo.png", root / "in" / "depth.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(random_trees.encoded(".png", random_trees.photo(rng)))
    depth.write_bytes(random_trees.encoded(".png", random_trees.depth(rng)))
    every = [root / name for name in ("predicted", "coded", "decoded", "explored")]
    predicted, coded, decoded, explored = map(str, every)
    for program, arguments in (
        (predict_program, [str(photo), f"--workdir={workdir}", f"--out={predicted}", "--page"]),
        (codec_program, ["encode", str(depth), f"--out={coded}"]),
        (codec_program, ["decode", coded, f"--out={decoded}"]),
        (explore, [str(depth), f"--out={explored}"]),
    ):
        done = call(program, arguments, root)
        assert done.status == 0, done.output
    return tuple(every)


def of_inputs(tree: pathlib.Path, rng: np.random.Generator, setup: Setup) -> list[str]:
    """Runs a random command on a random folder; returns what is wrong."""
    given, scratch = tree / "in", tree / "scratch"
    scratch.mkdir(parents=True)
    random_trees.plant(given, rng, random_trees.kinds(setup.recording), setup.results)
    out = [tree / "result", given / "result", given, given / "out"][rng.integers(4)]
    program, arguments = [
        (predict_program, [f"--workdir={setup.workdir}", "--page"]),
        (codec_program, ["encode", "--overwrite"]),
        (codec_program, ["decode", "--overwrite"]),
        (explore, ["--frames=2"]),
        (explore, ["--frames=99"]),
        (builder_program, ["--name=own", "--size=32x48", "--num_workers=1"]),
    ][rng.integers(6)]
    suffixes = CODED if "decode" in arguments else READ
    if program is builder_program:
        random_trees.plant_recordings(given, rng, setup.recording)
        arguments = [*arguments, f"--manual_dir={given}", f"--data_dir={out}"]
    else:
        arguments = [*arguments, str(given), f"--out={out}"]
    before, wrong, ends = random_trees.contents(given), [], []
    for _ in range(2):
        outcome = call(program, arguments, scratch)
        wrong += _wrong_with(outcome, scratch)
        after = random_trees.contents(tree)
        wrong += [f"{name} changed" for name in before if after.get(f"in/{name}") != before[name]]
        if outcome.status < 2 and "--frames=2" not in arguments:  # Which counts the others.
            made = after.keys() - {f"in/{name}" for name in before}
            paths = [name for name in before if _is_input(given / name, suffixes)]
            reports = b"".join(after[name] for name in made if name.endswith("metadata.json"))
            wrong += _unaccounted(given.resolve(), paths, made, outcome, reports.decode())
        ends.append((outcome.status, after))
    if ends[0] != ends[1]:
        (first, files), (second, again) = ends
        differ = [n for n in sorted(files.keys() | again.keys()) if files.get(n) != again.get(n)]
        if first != second or [name for name in differ if not name.endswith(TIMED)]:
            wrong.append(f"again: status {second} after {first}, other files {differ[:5]}")
    return [f"{program.__name__} {' '.join(arguments)}: {each}" for each in wrong]


def _is_input(path: pathlib.Path, suffixes: tuple[str, ...]) -> bool:
    """Returns whether a command reads files of this kind; a broken link is no file."""
    return path.suffix.lower() in suffixes and path.is_file()


def _unaccounted(
    root: pathlib.Path, names: list[str], made: Collection[str], outcome: Outcome, reports: str
) -> list[str]:
    """Returns the inputs in a folder that have no output and are neither named nor counted.

    Args:
        root: the folder.
        names: of the inputs in it.
        made: names of the outputs.
        outcome: of the command.
        reports: the metadata of data sets that it built, which name their recordings.
    """
    unpaired = re.findall(r"^(\d+) (?:colour|depth) files? without a partner", outcome.output, re.M)
    missing = [
        f"{name} is neither used nor named"
        for name in names
        if not any(part.startswith(".") for part in pathlib.PurePath(name).parts)  # Hidden.
        and not _is_used(pathlib.PurePath(name), made)
        and not _is_named(root, pathlib.PurePath(name), outcome)
        and not (
            name.endswith(".sens") and f'"{scan_ids.clean(pathlib.PurePath(name).stem)}' in reports
        )
    ]
    return missing if len(missing) > sum(map(int, unpaired)) else []


def _is_used(path: pathlib.PurePath, made: Collection[str]) -> bool:
    """Returns whether there are outputs of a file, or of the recording that it belongs to."""
    stem, clean = path.with_suffix("").as_posix(), scan_ids.clean
    names = {
        f"/{stem}.",  # Of predict and codec.
        f"/{path.as_posix()}.",  # Where two differ in their suffixes only.
        f"/{clean(path.parent.name or 'in')}_{clean(path.stem)}.png",  # Of explore.
    }
    folder = path.parents[1 if path.parent.name in ("color", "depth") else 0].name or "in"
    for recording in {path.stem if path.suffix == ".sens" else folder}:
        names |= {f"/{clean(recording)}/", f"/{clean(recording)}_", f"_{clean(recording)}/"}
    names |= {f"/{stem}/"}  # A video.
    return any(name in f"/{each}" for each in made for name in names)


def _is_named(root: pathlib.Path, path: pathlib.PurePath, outcome: Outcome) -> bool:
    """Returns whether a file was reported, alone or with a folder above it."""
    real = {os.path.realpath(each) for each in outcome.unused} | outcome.unused.keys()
    places = [root / path, *(root / folder for folder in path.parents)]
    if path.suffix.lower() not in (".jpg", ".png"):
        places.remove(root)  # Its reason is about images.
    return any(str(place) in real for place in places) or path.name in outcome.output


def _wrong_with(outcome: Outcome, scratch: pathlib.Path) -> list[str]:
    status, output = outcome.status, outcome.output
    wrong = [path.read_text() for path in scratch.glob("psp_jax_*.txt")]
    if status not in (0, 1, 2) or "Traceback" in output:
        wrong.append(f"status {status}: {output[-500:]}")
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    if status == 2 and len(errors) != 1:
        wrong.append(f"status 2 with {len(errors)} errors")
    return wrong


def of_workdir(tree: pathlib.Path, rng: np.random.Generator, setup: Setup) -> list[str]:
    """Damages a finished run at random and repeats its command; returns what is wrong."""
    workdir = tree / "run"
    shutil.copytree(setup.workdir, workdir)
    every = sorted(path for path in workdir.rglob("*") if path.is_file())
    for _ in range(rng.integers(1, 4)):
        path = every[rng.integers(len(every))]
        way = [*damage.WAYS.values()][rng.integers(len(damage.WAYS))]
        if path.is_file() and path.stat().st_size:
            way(path, rng)
        (path.parent / f"Thumbs{rng.integers(9)}.db").write_bytes(b"icons")
    first, wrong = _resume(workdir, setup)
    again, more = _resume(workdir, setup)
    wrong += [f"again: {each}" for each in more]
    return wrong + ([] if first == again else [f"again: {again} after {first}"])


def _resume(workdir: pathlib.Path, setup: Setup) -> tuple[str, list[str]]:
    """Repeats the command of a run; returns how it ended, and what is wrong."""
    before, output = damage.contents(workdir), io.StringIO()
    strays = sorted(path for path in before if "Thumbs" in path)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            state = train.run(setup.config, str(workdir))
    except (ValueError, OSError) as error:
        after = damage.contents(workdir)
        changed = [name for name, data in before.items() if after.get(name) != data]
        changed = [name for name in changed if pathlib.Path(name).name != ".lock"]
        message = f"refused, but changed {changed}: {error}"
        return f"refused: {error}", [message] if changed else []
    except Exception as error:  # What no command may show.
        return "failed", [f"unexpected {error!r}"]
    after = damage.contents(workdir)
    wrong = [f"{name} changed" for name in strays if after.get(name) != before[name]]
    wrong += [] if int(state.step) == 2 else ["the run ended elsewhere"]
    wrong += [] if "resuming" in output.getvalue() else ["trained again"]
    return f"ended at step {int(state.step)}", wrong


def main(arguments: argparse.Namespace) -> int:
    """Runs all trees and prints the number of failures."""
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        with contextlib.redirect_stdout(io.StringIO()):
            setup = prepare(root)
        for number in range(arguments.first, arguments.first + arguments.trees):
            rng = np.random.default_rng((arguments.seed, number))
            check = of_workdir if rng.random() < 0.15 else of_inputs
            tree = root / "tree"
            try:
                wrong = check(tree, rng, setup)
            finally:
                _remove(tree)
            counts[check.__name__] += 1
            counts["failed"] += bool(wrong)
            for each in dict.fromkeys(wrong):
                print(f"--seed={arguments.seed} --first={number} --trees=1: {each}", flush=True)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    return 1 if counts["failed"] else 0


def _remove(tree: pathlib.Path) -> None:
    for parent, folders, _ in os.walk(tree):
        for name in folders:
            with contextlib.suppress(OSError):
                os.chmod(os.path.join(parent, name), 0o700)
    shutil.rmtree(tree, ignore_errors=True)


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.fuzz_commands", description=__doc__)
    parser.add_argument("--trees", type=command_line.positive_int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first tree")
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
