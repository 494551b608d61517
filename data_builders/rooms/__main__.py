"""Renders the procedural rooms: `python -m data_builders.rooms --directory=data/rooms`."""

import argparse

from data_builders.rooms import generate
from psp_jax.io import command_line

_FIELDS = {
    "spaces": "number of rooms; each is scanned one to three times",
    "frames_per_scan": "frames of each scan",
    "depth_height": "rows of a depth image; colour has twice as many",
    "depth_width": "columns of a depth image; colour has twice as many",
    "seed": "seed of the rooms",
}


def main(arguments: argparse.Namespace) -> None:
    """Renders the rooms that do not exist yet."""
    fields = {name: getattr(arguments, name) for name in (*_FIELDS, "ideal_depth", "variety")}
    rooms = generate.Rooms(**fields)
    generate.generate(rooms, arguments.directory, processes=arguments.processes)


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m data_builders.rooms", description=__doc__)
    parser.add_argument(
        "--directory",
        type=command_line.path,
        default="data/rooms",
        help="output folder of scans/ and rooms.json",
    )
    for name, text in _FIELDS.items():
        default = getattr(generate.Rooms(), name)
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument(
        "--ideal_depth", action="store_true", help="depth without the sensor's noise and holes"
    )
    parser.add_argument(
        "--variety",
        action="store_true",
        help="draw round things, clutter, prints and cameras of any height and field of view",
    )
    parser.add_argument(
        "--processes",
        type=command_line.positive_int,
        help="processes that draw (default: one per core, or threads for few frames)",
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser(), resumes=True)
