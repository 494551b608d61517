"""Command line of the procedural rooms: `python -m data_builders.rooms --directory=data/rooms`."""

import dataclasses
import sys

from absl import app, flags

from data_builders.rooms import generate

_DEFAULTS = generate.Rooms()

_DIRECTORY = flags.DEFINE_string(
    "directory", None, "Where scans/ and rooms.json go.", required=True
)
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


def main(arguments: list[str]) -> None:
    """Draw the rooms; a bad value ends in one line on stderr and status 2."""
    try:
        if len(arguments) > 1:
            raise ValueError(
                f"unexpected argument {arguments[1]!r}; values are given as --name=value"
            )
        rooms = dataclasses.replace(_DEFAULTS, **{field.name: field.value for field in _FIELDS})
        generate.generate(rooms, _DIRECTORY.value)
    except (ValueError, OSError) as error:
        print(f"data_builders.rooms: {error}", file=sys.stderr)
        sys.exit(2)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        print(f"data_builders.rooms: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
