"""Trains an experiment: `python -m psp_jax.main --config=configs/depth_mse.py`."""

import ast
import difflib
import itertools
import os
import re
import sys
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="File with get_config(); a variant may follow, as in configs/depth_mse.py:scannet. "
    "Fields are overridden by --config.seed=1, --config.phases[0].steps=100 and so on.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; the same command goes on from it. Default: runs/<name>."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "This is one of several processes that SLURM, Kubernetes, Open MPI or a TPU pod has started, "
    "which say where the others are.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, where nobody says so; goes with --process_id and --num_processes.",
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")


_EXPECTED = {  # By what the parsers of flags say.
    "invalid literal for int()": "an integer",
    "could not convert string to float": "a number",
    "Non-boolean argument to boolean flag": "true or false",
}


class _DictParser(flags.ArgumentParser):
    """Reads fields that are dicts, such as --config.phases[0].lr_multipliers="{'head': 10}"."""

    def parse(self, argument: Any) -> dict:
        """Takes a dict as it is, and text as a literal."""
        try:
            value = ast.literal_eval(argument) if isinstance(argument, str) else argument
        except (MemoryError, RecursionError, SyntaxError, ValueError):
            value = None
        if not isinstance(value, dict):
            raise ValueError("a dict, such as {'head': 10}, was expected")
        return value

    def flag_type(self) -> str:
        """Names the type in --help."""
        return "dict"


config_flags.register_flag_parser_for_type(dict, _DictParser())


def main(argv: list[str]) -> None:
    """Checks everything that can be checked, then trains."""
    processes = _processes()
    config = _CONFIG.value
    # Imported here so that --help, misspelt flags and wrong values answer at once.
    from psp_jax import experiment

    try:
        experiment.check(config)
        config.data.source.check()
    except (ValueError, OSError) as error:
        _fail(str(error))
    if processes is None:
        _train()
        return
    from psp_jax.runtime import mesh

    try:
        mesh.join(*processes)
    except (RuntimeError, ValueError) as error:
        _fail(f"this process can't join the others: {str(error).splitlines()[0]}")
    with mesh.leaving_together():
        _train()


def _train() -> None:
    from psp_jax import experiment, train

    config = _CONFIG.value
    workdir = _WORKDIR.value or f"runs/{config.name}"
    try:
        train.check(config, workdir)
    except (ValueError, OSError) as error:
        _fail(str(error))
    try:
        train.run(config, workdir)
    except (experiment.ConfigError, FloatingPointError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is finished", file=sys.stderr)
        sys.exit(130)


def _processes() -> tuple[str | None, int | None, int | None] | None:
    """Returns coordinator, number of this process and of all; None without others."""
    coordinator, index, count = _COORDINATOR.value, _PROCESS_ID.value, _NUM_PROCESSES.value
    if coordinator is index is count is None:
        return (None, None, None) if _DISTRIBUTED.value else None
    if coordinator is None or index is None or count is None:
        _fail("--coordinator, --process_id and --num_processes go together, all three of them")
    if _DISTRIBUTED.value:
        _fail("--distributed finds the coordinator by itself; leave it or --coordinator out")
    if not re.fullmatch(r".+:\d+", coordinator):
        _fail(f"--coordinator={coordinator}: HOST:PORT was expected")
    if not 0 <= index < count:
        _fail(f"--process_id={index}: from 0 to {count - 1}, --num_processes less 1, was expected")
    return coordinator, index, count


def parse(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it ends the program in one line."""
    _check_config_file(argv)
    try:
        rest = flags.FLAGS(argv)
    except KeyError as error:  # A field that the dataclass does not have.
        _fail(_misspelt(str(error.args[0])))
    except IndexError:
        indexed = [argument for argument in argv if re.match(r"--config\S*\[\d+\]", argument)]
        _fail(f"the config has no such element: {', '.join(indexed)}")
    except (
        flags.Error,
        AttributeError,
        TypeError,
        ValueError,
        OSError,
        SyntaxError,
        ImportError,
    ) as error:
        # An error inside the config file comes as a traceback, whose last line says it.
        lines = str(error).strip().splitlines()
        _fail(_readable(lines[-1] if "parsing config file" in lines[0] else lines[0]))
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; see --help")
    given = {argument.lstrip("-").partition("=")[0] for argument in argv}
    if not given & {"v", "verbosity"}:
        logging.set_verbosity(logging.WARNING)  # The libraries below say much that is of no use.
    return rest


def _check_config_file(argv: list[str]) -> None:
    if any(argument.lstrip("-").startswith("help") for argument in argv):
        return
    given = [match[1] for match in map(re.compile(r"--?config=(.*)").match, argv) if match]
    given += [value for name, value in itertools.pairwise(argv) if name in ("-config", "--config")]
    if not given:
        _fail("--config is missing, such as --config=configs/depth_mse.py")
    path = given[-1].partition(":")[0]
    if not os.path.isfile(path):
        _fail(f"--config={given[-1]}: there is no file {path}")


def _readable(message: str) -> str:
    """Says of a flag's value what was expected, where the parser says what int() thinks of it."""
    for words, expected in _EXPECTED.items():
        if match := re.match(rf"flag (--\S+?=.*): .*{re.escape(words)}", message):
            return f"{match[1]}: {expected} was expected"
    return message


def _misspelt(message: str) -> str:
    match = re.search(r"Field (\S+) not found on dataclass <class '.*?(\w+)'>", message)
    if not match:
        return message
    field, owner = match.groups()
    known = _fields_of(owner)
    close = difflib.get_close_matches(field, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
    return f"the config's {owner} has no field {field!r}; {hint}"


def _fields_of(owner: str) -> list[str]:
    """Lists the fields of the dataclass of that name among those a config can hold."""
    for module in list(sys.modules.values()):
        kind = getattr(module, owner, None)
        if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
            return list(kind.__dataclass_fields__)
    return []


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
