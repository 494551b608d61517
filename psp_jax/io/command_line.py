"""The command lines of all programs but `main`: help, and errors in one line with status 2."""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from psp_jax.io import files
from psp_jax.io.version import __version__


class Parser(argparse.ArgumentParser):
    """Shows a module's docstring as help, and reports what is wrong in one line."""

    def __init__(self, *, prog: str, description: str | None, **options: Any):
        """Starts without arguments.

        Args:
            prog: the command, as in `python -m psp_jax.predict`.
            description: its help, usually the docstring of the module.
            options: as argparse takes them, for parsers of subcommands.
        """
        options = {"formatter_class": argparse.RawDescriptionHelpFormatter} | options
        super().__init__(prog=prog, description=description, allow_abbrev=False, **options)
        self.add_argument("--version", action="version", version=f"psp_jax {__version__}")
        self._has_commands = False

    def add_subparsers(self, **options: Any) -> Any:
        """Adds subcommands, as argparse does; flags then belong behind the command."""
        self._has_commands = True
        return super().add_subparsers(**options)

    def parse(self) -> argparse.Namespace:
        """Parses the command line; flags may stand between positional arguments."""
        return self.parse_args() if self._has_commands else self.parse_intermixed_args()

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        fail(message)


def fail(message: str) -> NoReturn:
    """Prints an error in one line and ends the program with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def path(text: str) -> pathlib.Path:
    """Reads an argument that is a local path, see `files.local_path`.

    Raises:
        argparse.ArgumentTypeError: if it is a URL.
    """
    try:
        return files.local_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive_int(text: str) -> int:
    """Reads an argument that is an integer from 1.

    Raises:
        argparse.ArgumentTypeError: if it is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer from 1, got {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """Reads an argument that is a finite number above 0.

    Raises:
        argparse.ArgumentTypeError: if it is something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def run(
    main: Callable[[argparse.Namespace], int | None], parser: Parser, *, resumes: bool = False
) -> NoReturn:
    """Parses the command line and calls `main`; its errors become one line and status 2.

    Args:
        main: what the program does; returns its exit status, None for 0. ValueError and OSError
            are reported in one line, Ctrl-C ends with status 130.
        parser: knows the arguments.
        resumes: whether the same command, run again, continues an interrupted one.
    """
    arguments = parser.parse()
    try:
        sys.exit(main(arguments) or 0)
    except (ValueError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        hint = "; run the same command again to resume" if resumes else ""
        print(f"interrupted{hint}", file=sys.stderr)
        sys.exit(130)
