"""How the commands with positional arguments answer what is wrong: one line, status 2."""

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Shows a module's docstring as help, and says what is wrong in one line."""

    def __init__(self, module: str, doc: str | None):
        """Starts without arguments.

        Args:
            module: the command, as in `python -m module`.
            doc: its help.
        """
        super().__init__(
            prog=f"python -m {module}",
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
