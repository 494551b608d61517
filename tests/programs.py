"""Runs programs in the process of the tests, which has imported everything."""

import contextlib
import io
import runpy
import subprocess
import sys
import warnings
from unittest import mock

from absl import flags
from absl.testing import flagsaver

from psp_jax import main


def train(*arguments: str) -> int:
    """Runs `python -m psp_jax.main` with these arguments and returns its status."""
    argv = ["main", *arguments]
    with (
        flagsaver.flagsaver(),  # Flags of the fields of a config are defined as it is read.
        mock.patch("sys.argv", argv),
        warnings.catch_warnings(),
    ):
        # Of ml_collections.
        warnings.filterwarnings("ignore", r"the load_module\(\) method", DeprecationWarning)
        sys.modules.pop("config_config", None)  # Otherwise it keeps what the last config defined.
        flags.FLAGS.unparse_flags()
        try:
            main.main(main.parse(argv))
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            return ended.code
    return 0


def run(module: str, *arguments: object, cwd: object = ".") -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE` with these arguments in a folder, as `subprocess.run` would."""
    argv, status, out, error = [module, *map(str, arguments)], 0, io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(str(cwd)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        mock.patch("sys.argv", argv),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning)
        try:
            if module == "psp_jax.main":
                status = train(*argv[1:])
            else:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            status = ended.code or 0
            assert isinstance(status, int)
    return subprocess.CompletedProcess(argv, status, out.getvalue(), error.getvalue())
