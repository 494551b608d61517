"""The command lines of all programs: help, and errors in one line.

The status is 0 if everything was done, 1 if something was left out and named, 2 if the command
can't work, 70 after an error that should not happen, 130 after Ctrl-C.
"""

import argparse
import contextlib
import io
import os
import pathlib
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from psp_jax.io import files
from psp_jax.io.version import __version__

UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h.


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


def positive_floats(text: str) -> tuple[float, ...]:
    """Reads an argument that is a list of such numbers, separated by commas.

    Raises:
        argparse.ArgumentTypeError: if it is something else.
    """
    return tuple(map(positive_float, text.split(",")))


def run(
    main: Callable[[argparse.Namespace], int | None], parser: Parser, *, resumes: bool = False
) -> NoReturn:
    """Parses the command line and calls `main`, within `guard`.

    Args:
        main: what the program does; returns its exit status, None for 0.
        parser: knows the arguments.
        resumes: whether the same command, run again, continues an interrupted one.
    """
    make_printing_safe()
    arguments = parser.parse()
    with guard(resumes=resumes):
        sys.exit(main(arguments) or 0)


def make_printing_safe() -> None:
    """Lets stdout and stderr take any text: what they can't encode becomes `\\x` escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def guard(*, resumes: bool = False) -> Iterator[None]:
    """Turns the errors of a `with` block into one line and an exit status.

    ValueError, OSError, FloatingPointError and absent devices end with status 2. Other errors are
    not expected: their traceback is written to a file, which the line names.
    """
    try:
        yield
    except BrokenPipeError:  # The reader of the output, such as `head`, is gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except (ValueError, OSError, FloatingPointError) as error:
        fail(_message(error))
    except KeyboardInterrupt:
        hint = "; run the same command again to resume" if resumes else ""
        print(f"interrupted{hint}", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not _has_device():
            platforms = os.environ.get("JAX_PLATFORMS", "")
            fail(f"JAX_PLATFORMS={platforms}: there is no such device; unset it or set it to cpu")
        lines = str(error).strip().splitlines() or [""]
        print(
            f"error: unexpected {type(error).__name__}: {lines[0][:300]}. Please report it with "
            f"{_write_traceback(error)}, which holds the traceback",
            file=sys.stderr,
        )
        sys.exit(UNEXPECTED)


def _message(error: Exception) -> str:
    """Returns the text of an error, for one of the system without its number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def _has_device() -> bool:
    """Returns False if JAX was imported and can't start any backend."""
    jax = sys.modules.get("jax")
    try:
        return jax is None or bool(jax.devices())
    except (RuntimeError, AssertionError):
        return False


def _write_traceback(error: Exception) -> str:
    handle, name = tempfile.mkstemp(prefix="psp_jax_", suffix=".txt")
    command = " ".join(sys.orig_argv)
    header = f"psp_jax {__version__}, Python {platform.python_version()}, {platform.platform()}"
    text = f"{header}\n{command}\n\n{''.join(traceback.format_exception(error))}"
    with open(handle, "wb") as file:
        file.write(text.encode(errors="backslashreplace"))
    return name
