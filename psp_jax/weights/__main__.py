"""Inspects, converts and verifies pretrained weights, and exports runs as models to pass on.

python -m psp_jax.weights inspect FILE
python -m psp_jax.weights convert FILE OUT.safetensors
python -m psp_jax.weights verify OUT.safetensors
python -m psp_jax.weights export WORKDIR FOLDER
"""

import argparse
import ast
import collections
import dataclasses
import os
import pathlib

import numpy as np

from psp_jax.io import command_line
from psp_jax.models import architecture
from psp_jax.models.architecture import Architecture
from psp_jax.weights import converted, golden, matching, pretrained, reading
from psp_jax.weights.network import flatten

ARCHITECTURES = {
    name: value for name, value in vars(architecture).items() if isinstance(value, Architecture)
}


def parse_architecture(text: str) -> Architecture:
    """Reads `NAME` or `NAME,field=value,...`.

    Raises:
        argparse.ArgumentTypeError: if the name or a field is unknown, or a value has another type.
    """
    name, *changes = text.split(",")
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise argparse.ArgumentTypeError(f"expected one of {known}, got {name!r}")
    variant = ARCHITECTURES[name]
    for change in changes:
        field, _, value = change.partition("=")
        if field not in {f.name for f in dataclasses.fields(Architecture)}:
            raise argparse.ArgumentTypeError(f"an architecture has no field {field!r}")
        kind = type(getattr(variant, field))
        try:
            parsed = kind(value) if kind not in (bool, tuple) else ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed = None
        if not isinstance(parsed, kind):
            raise argparse.ArgumentTypeError(f"{field}: expected {kind.__name__}, got {value!r}")
        variant = dataclasses.replace(variant, **{field: parsed})
    return variant


def inspect(arguments: argparse.Namespace) -> None:
    """Prints the arrays of FILE, their network, and the model that can load them."""
    path = arguments.FILE
    result = reading.read_converted(path)
    if result is not None:
        print(f"{path}: converted by this package")
    else:
        archive = reading.open_archive(path)
        print(f"{path}: {archive.kind}, {len(archive.arrays)} arrays")
        try:
            result = matching.match(archive, arguments.architecture)
        except ValueError:
            for name, array in archive.arrays.items():
                print(f"  {name}  {'x'.join(map(str, array.shape)) or 1}")
            raise
        print(f"{result.source}\n{result.table()}")
    _print_network(result)
    reading.check(path, result)
    counts: collections.Counter[str] = collections.Counter()
    for name, leaf in flatten(result.variables["params"]).items():
        counts[name.partition("/")[0]] += int(np.size(leaf))
    for name, count in [*counts.items(), ("all", counts.total())]:
        print(f"  {name:<22}{count:>12,} parameters")
    network = result.network
    named = [name for name, value in ARCHITECTURES.items() if value == network.architecture]
    print(
        f"init_from={path} loads it into "
        f"Segmenter(trunk=ResNet(layers={network.depth}, width={network.width}), "
        f"architecture={named[0] if named else 'as above'})"
    )


def convert(arguments: argparse.Namespace) -> None:
    """Converts FILE, whose arrays all have to fit, and stores its outputs for fixed images."""
    source, target = arguments.FILE, arguments.OUT
    if target.suffix != ".safetensors":
        raise ValueError(f"OUT={target}: expected a name that ends in .safetensors")
    if reading.read_converted(source) is not None:
        raise ValueError(f"{source} is converted already")
    _check_target(target)
    result = matching.match(reading.open_archive(source), arguments.architecture)
    print(result.table())
    _print_network(result)
    reading.check(source, result)
    classes = result.network.channels
    if arguments.classes not in (None, classes):
        raise ValueError(
            f"{source}: expected --classes={arguments.classes}, got {classes or 'none'}"
        )
    converted.write(target, result, source)
    stored = golden.write(target, result.network, result.variables)
    print(f"written: {target}, {target.with_suffix('.json').name}, {stored.name}")


def _check_target(target: pathlib.Path) -> None:
    """Raises ValueError if a file that `convert` would write exists and is not of this program."""
    is_own = target.is_file() and reading.read_converted(target) is not None
    for path in (target, target.with_suffix(".json"), golden.path_of(target)):
        if os.path.lexists(path) and not is_own:
            raise ValueError(f"{path} exists and was not converted by this program; choose another")


def verify(arguments: argparse.Namespace) -> None:
    """Computes the stored outputs of FILE again and compares them."""
    path = arguments.FILE
    weights = reading.load(path, arguments.architecture)
    _print_network(weights)
    if arguments.golden:
        print(f"written: {golden.write(path, weights.network, weights.variables)}")
        return
    lines, agree = golden.compare(path, weights.network, weights.variables)
    print("\n".join(lines))
    if not agree:
        raise ValueError(
            f"{path} does not reproduce {golden.path_of(path).name}; expected a difference up to "
            f"{golden.TOLERANCE:g} of the largest output and {golden.AGREEMENT:.2%} equal classes"
        )
    print("verified")


def export(arguments: argparse.Namespace) -> None:
    """Exports the best checkpoint of WORKDIR as a model in FOLDER, which anyone can use."""
    model = pretrained.export(arguments.WORKDIR, arguments.FOLDER)
    print(f"written: {arguments.FOLDER}, {model.config.name} at step {model.step}")
    if model.calibration is None:
        print(f"{arguments.WORKDIR} has no calibration.json; python -m psp_jax.calibrate fits one")


def _print_network(weights: matching.Match) -> None:
    print(weights.network.describe())
    for field in dataclasses.fields(Architecture):
        value = getattr(weights.network.architecture, field.name)
        if field.name == "stem":
            value = ", ".join(f"{s.size}x{s.size} to {s.widths:g}w /{s.stride}" for s in value)
        print(f"  {field.name:<22}{value}")
    for note in weights.notes:
        print(note)


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.weights", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, names in ((inspect, ["FILE"]), (convert, ["FILE", "OUT"]), (verify, ["FILE"])):
        added = commands.add_parser(
            command.__name__, help=command.__doc__, description=command.__doc__
        )
        added.set_defaults(command=command)
        for name in names:
            described = "weights file" if name == "FILE" else "output .safetensors file"
            added.add_argument(name, type=command_line.path, help=described)
        added.add_argument(
            "--architecture",
            type=parse_architecture,
            metavar="NAME[,field=value]",
            help=f"architecture variant of the weights: {', '.join(ARCHITECTURES)}",
        )
        if command is convert:
            added.add_argument(
                "--classes", type=command_line.positive_int, help="required number of classes"
            )
        if command is verify:
            added.add_argument(
                "--golden",
                action="store_true",
                help="overwrite the stored outputs instead of comparing",
            )
    added = commands.add_parser("export", help=export.__doc__, description=export.__doc__)
    added.set_defaults(command=export)
    added.add_argument("WORKDIR", type=command_line.path, help="folder of the run")
    added.add_argument("FOLDER", type=command_line.path, help="new folder of the model")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Runs the command of the command line."""
    arguments.command(arguments)


if __name__ == "__main__":
    command_line.run(main, parser())
