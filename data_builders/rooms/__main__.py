"""Command line of the procedural rooms: `python -m data_builders.rooms --directory=data/rooms`."""

import dataclasses

from absl import flags

from data_builders import command_line
from data_builders.rooms import generate

_DEFAULTS = generate.Rooms()

_DIRECTORY = flags.DEFINE_string("directory", "data/rooms", "Where scans/ and rooms.json go.")
_FIELDS = [
    flags.DEFINE_integer("spaces", _DEFAULTS.spaces, "Rooms; each is scanned one to three times."),
    flags.DEFINE_integer("frames_per_scan", _DEFAULTS.frames_per_scan, "Frames of one scan."),
    flags.DEFINE_integer(
        "depth_height", _DEFAULTS.depth_height, "Rows of depth; colour has twice."
    ),
    flags.DEFINE_integer(
        "depth_width", _DEFAULTS.depth_width, "Columns of depth; colour has twice."
    ),
    flags.DEFINE_integer("seed", _DEFAULTS.seed, "Another seed gives other rooms."),
]


def main() -> None:
    """Draws the rooms."""
    rooms = dataclasses.replace(_DEFAULTS, **{field.name: field.value for field in _FIELDS})
    generate.generate(rooms, _DIRECTORY.value)


if __name__ == "__main__":
    command_line.run(main)
