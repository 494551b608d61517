"""How the builders' command lines answer: what is wrong with a command is one line, status 2."""

import functools
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, calls `main`, and reports its ValueError or OSError in one line."""
    app.run(functools.partial(_guarded, main), flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        _fail(" ".join(str(error).split()))
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; values are given as --name=value")
    return rest


def _guarded(main: Callable[[], None], argv: list[str]) -> None:
    try:
        main()
    except (ValueError, OSError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
