"""Runs programs in the process of the tests, which has imported everything."""

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
