"""Published weights: `python -m psp_jax.weights convert IN OUT`, `inspect FILE`, `verify FILE`."""

import argparse
import ast
import collections
import dataclasses
import pathlib
import sys

import numpy as np

from psp_jax.models import architecture
from psp_jax.models.architecture import Architecture
from psp_jax.weights import converted, golden, matching, reading
from psp_jax.weights.network import Network, flatten

ARCHITECTURES = {
    name: value for name, value in vars(architecture).items() if isinstance(value, Architecture)
}


def parse_architecture(text: str) -> Architecture:
    """Reads `NAME` or `NAME,field=value,...`.

    Raises:
        ValueError: if the name or a field is not known, or a value is of another type.
    """
    name, *changes = text.split(",")
    if name not in ARCHITECTURES:
        raise ValueError(f"--architecture={text}: {name!r} is none of {', '.join(ARCHITECTURES)}")
    chosen = ARCHITECTURES[name]
    for change in changes:
        field, _, value = change.partition("=")
        if field not in {f.name for f in dataclasses.fields(Architecture)}:
            raise ValueError(f"--architecture={text}: an architecture has no {field!r}")
        kind = type(getattr(chosen, field))
        try:
            parsed = kind(value) if kind not in (bool, tuple) else ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed = None
        if not isinstance(parsed, kind):
            raise ValueError(f"--architecture={text}: {field} is a {kind.__name__}, not {value!r}")
        chosen = dataclasses.replace(chosen, **{field: parsed})
    return chosen


def convert(arguments: argparse.Namespace) -> None:
    """Reads a foreign file strictly and writes it as the package's own, with golden outputs."""
    source, target = pathlib.Path(arguments.IN), pathlib.Path(arguments.OUT)
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: a name that ends in .safetensors was expected")
    if reading.read_converted(source) is not None:
        raise ValueError(f"{source} is converted already")
    found = reading.match(source, arguments.architecture)
    print(found.table())
    _say(found.network, found.notes)
    reading.check(source, found)
    wanted, held = arguments.classes, found.network.channels
    if wanted is not None and wanted != held:
        raise ValueError(
            f"{source}: it has {held or 'no'} classes; --classes={wanted} was expected"
        )
    converted.write(target, found, source)
    stored = golden.write(target, found.network, found.variables)
    print(f"written: {target}, {target.with_suffix('.json').name}, {stored.name}")


def inspect(arguments: argparse.Namespace) -> None:
    """Prints what a file holds and what can load it."""
    path = pathlib.Path(arguments.FILE)
    own = reading.read_converted(path)
    if own is not None:
        print(f"{path}: converted by this package")
        _say(own.network, [])
        _count(own.variables)
        print(_loader(path, own.network))
        return
    archive = reading.open_archive(path)
    print(f"{path}: {archive.kind}, {len(archive.arrays)} arrays")
    try:
        found = matching.match(archive, arguments.architecture)
    except ValueError:
        for name, array in archive.arrays.items():
            print(f"  {name}  {'x'.join(map(str, array.shape)) or 1}")
        raise
    print(f"{found.source}\n{found.table()}")
    _say(found.network, found.notes)
    _count(found.variables)
    reading.check(path, found)
    print(_loader(path, found.network))


def verify(arguments: argparse.Namespace) -> None:
    """Runs the stored images and compares; with --golden it stores their outputs first."""
    path = pathlib.Path(arguments.FILE)
    weights = reading.load(path, arguments.architecture)
    _say(weights.network, list(weights.notes))
    if arguments.golden:
        print(f"written: {golden.write(path, weights.network, weights.variables)}")
        return
    lines, agree = golden.compare(path, weights.network, weights.variables)
    print("\n".join(lines))
    if not agree:
        raise ValueError(
            f"{path} does not give what {golden.path_beside(path).name} holds to "
            f"{golden.TOLERANCE:g} of the largest output and {golden.AGREEMENT:.2%} of the classes"
        )
    print("verified")


def _say(network: Network, notes: list[str]) -> None:
    print(network.describe())
    for field in dataclasses.fields(Architecture):
        value = getattr(network.architecture, field.name)
        if field.name == "stem":
            value = ", ".join(f"{s.size}x{s.size} to {s.widths:g}w /{s.stride}" for s in value)
        print(f"  {field.name:<22}{value}")
    for note in notes:
        print(note)


def _count(variables: dict) -> None:
    parts: collections.Counter[str] = collections.Counter()
    for path, leaf in flatten(variables["params"]).items():
        parts[path.partition("/")[0]] += int(np.size(leaf))
    parts["all"] = parts.total()
    for name, count in parts.items():
        print(f"  {name:<22}{count:>12,} parameters")


def _loader(path: pathlib.Path, network: Network) -> str:
    named = [name for name, value in ARCHITECTURES.items() if value == network.architecture]
    shape = f"depth={network.depth}, width={network.width}"
    return (
        f"init_from={path} loads it into Segmenter({shape}, architecture="
        f"{named[0] if named else 'as above'})"
    )


def main(argv: list[str] | None = None) -> None:
    """Runs the command line; what is wrong ends it in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m psp_jax.weights", description=__doc__, allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True)
    for command, names in ((convert, ("IN", "OUT")), (inspect, ("FILE",)), (verify, ("FILE",))):
        sub = commands.add_parser(command.__name__, help=command.__doc__, allow_abbrev=False)
        sub.set_defaults(command=command)
        for name in names:
            sub.add_argument(name)
        sub.add_argument(
            "--architecture",
            metavar="NAME[,field=value]",
            help=f"what the weights are made for: {', '.join(ARCHITECTURES)}",
        )
        if command is convert:
            sub.add_argument("--classes", type=int, help="refuse files of another number")
        if command is verify:
            sub.add_argument("--golden", action="store_true", help="store instead of compare")
    arguments = parser.parse_args(argv)
    try:
        if arguments.architecture is not None:
            arguments.architecture = parse_architecture(arguments.architecture)
        arguments.command(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
