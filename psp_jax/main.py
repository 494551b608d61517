"""Trains an experiment: `python -m psp_jax.main --config=configs/depth_mse.py`."""

import ast
import contextlib
import dataclasses
import difflib
import gc
import itertools
import os
import pkgutil
import re
import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from psp_jax import usage
from psp_jax.io import command_line
from psp_jax.io.command_line import fail
from psp_jax.io.version import __version__

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="File with get_config(); a variant may follow, as in configs/depth_mse.py:scannet. "
    "Fields are overridden by --config.seed=1, --config.phases[0].steps=100 and so on.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; the same command resumes it. Default: runs/<name>."
)
_RESUME_FROM = flags.DEFINE_integer(
    "resume_from",
    None,
    "Older step to resume from where the newest checkpoint is damaged; 0 starts from scratch. "
    "Newer checkpoints are moved to unused_checkpoints/ in the workdir.",
    lower_bound=0,
)
_PRINT_CONFIG = flags.DEFINE_bool(
    "print_config", False, "Print the config, overridden fields included, as JSON, and exit."
)
_DRY_RUN = flags.DEFINE_string(
    "dry_run",
    None,
    "Do everything up to the first step, leave the workdir as it is, and draw the inputs of the "
    "step into this PNG file; without a value into a temporary folder.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Join the processes started by SLURM, Kubernetes, Open MPI or a TPU pod, and find the "
    "coordinator from their environment.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, if no cluster manager provides it; requires --process_id and "
    "--num_processes.",
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Total number of processes.")


_HELP = {"--help", "-help", "-h", "-?", "--helpshort"}
_EXPECTED_TYPES = {  # Keyed by the error messages of absl.
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
            raise ValueError("expected a dict, such as {'head': 10}")
        return value

    def flag_type(self) -> str:
        """Names the type in --help."""
        return "dict"


config_flags.register_flag_parser_for_type(dict, _DictParser())


def main(argv: list[str]) -> None:
    """Trains the experiment of the command line."""
    with command_line.guard(resumes=True):
        _train(_CONFIG.value, _other_processes())


def _train(config: Any, others: tuple[str | None, int | None, int | None] | None) -> None:
    from psp_jax import experiment  # The others take seconds to import.

    if _PRINT_CONFIG.value:
        print(experiment.text(config))
        return
    experiment.check(config)
    config.data.source.check()
    from psp_jax import train
    from psp_jax.runtime import processes

    workdir = _WORKDIR.value or f"runs/{config.name}"
    with contextlib.ExitStack() as stack:
        if others is not None:
            try:
                processes.join(*others)
            except (RuntimeError, ValueError) as error:
                fail(f"this process can't join the others: {str(error).splitlines()[0]}")
            stack.enter_context(processes.exit_on_error())
            stack.enter_context(command_line.guard(resumes=True))
        if _DRY_RUN.value is not None:
            from psp_jax import dry_run

            dry_run.run(config, _DRY_RUN.value)
            return
        gc.freeze()  # What starting made stays.
        gc.enable()
        train.run(config, workdir, resume_from=_RESUME_FROM.value)


def _other_processes() -> tuple[str | None, int | None, int | None] | None:
    """Returns coordinator, index of this process and their number; None if it is the only one."""
    coordinator, index, count = _COORDINATOR.value, _PROCESS_ID.value, _NUM_PROCESSES.value
    if coordinator is index is count is None:
        return (None, None, None) if _DISTRIBUTED.value else None
    if coordinator is None or index is None or count is None:
        fail("--coordinator, --process_id and --num_processes: expected all three or none")
    if _DISTRIBUTED.value:
        fail("expected --distributed or --coordinator, got both; the former finds the coordinator")
    if not re.fullmatch(r".+:\d+", coordinator):
        fail(f"--coordinator: expected HOST:PORT, got {coordinator}")
    if not 0 <= index < count:
        fail(f"--process_id: expected 0 to {count - 1}, since --num_processes={count}, got {index}")
    return coordinator, index, count


def parse(argv: list[str]) -> list[str]:
    """Parses the command line; an error ends the program in one line with status 2."""
    command_line.make_printing_safe()
    if "--version" in argv[1:]:
        print(f"psp_jax {__version__}")
        sys.exit(0)
    argv = [
        "--dry_run=" if argument in ("--dry_run", "-dry_run") else argument for argument in argv
    ]
    wants_help = bool(_config_files(argv)) and not _HELP.isdisjoint(argv)
    argv = [argument for argument in argv if not wants_help or argument not in _HELP]
    _check_config_file(argv)
    try:
        rest = flags.FLAGS(argv)
    except SystemExit:  # After --help, for which absl exits with 1.
        sys.exit(0)
    except KeyError as error:  # A field that the dataclass does not have.
        fail(_explain_unknown_field(str(error.args[0]), argv))
    except flags.UnrecognizedFlagError as error:
        fail(_explain_unknown_flag(error, argv))
    except IndexError:
        indexed = [argument for argument in argv if re.match(r"--config\S*\[\d+\]", argument)]
        fail(f"the config has no such element: {', '.join(indexed)}")
    except (
        flags.Error,
        AttributeError,
        TypeError,
        ValueError,
        OSError,
        SyntaxError,
        ImportError,
    ) as error:
        # An error inside the config file arrives as a traceback; its last line is the message.
        lines = str(error).strip().splitlines()
        fail(_explain_value(lines[-1] if "parsing config file" in lines[0] else lines[0]))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; see --help")
    if wants_help:
        with command_line.guard():  # The reader of the output may be `head`.
            app.usage(shorthelp=True, writeto_stdout=True)
            print(usage.config_help(_CONFIG.value), flush=True)
        sys.exit(0)
    given = {argument.lstrip("-").partition("=")[0] for argument in argv}
    if not given & {"v", "verbosity"}:
        logging.set_verbosity(logging.WARNING)  # Hides the INFO messages of libraries.
    return rest


def _config_files(argv: list[str]) -> list[str]:
    """Returns the values of --config."""
    given = [match[1] for match in map(re.compile(r"--?config=(.*)").match, argv) if match]
    pairs = itertools.pairwise(argv)
    return given + [value for name, value in pairs if name in ("-config", "--config")]


def _check_config_file(argv: list[str]) -> None:
    if any(argument.lstrip("-").startswith("help") for argument in argv):
        return
    given = _config_files(argv)
    for argument in argv:
        if match := re.match(r"(--?config[\w.\[\]]*?)\.(\d+)\b(.*)", argument):
            fail(f"{argument}: expected an index in brackets: {match[1]}[{match[2]}]{match[3]}")
    if not given:
        fail("expected --config=FILE, such as --config=configs/depth_mse.py")
    path = given[-1].partition(":")[0]
    if not os.path.isfile(path):
        near = usage.near_files(path)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        fail(f"--config={given[-1]}: there is no file {path}{hint}")


def _load_config(argv: list[str]) -> Any:
    """Loads the config without the fields that the command line overrides."""
    alone = flags.FlagValues()
    arguments = [argv[0], f"--config={_config_files(argv)[-1]}"]
    holder = config_flags.DEFINE_config_file("config", flag_values=alone, sys_argv=arguments)
    alone(arguments)
    return holder.value


def _explain_value(message: str) -> str:
    """Says what a flag expects, in place of a parser's own message."""
    if match := re.search(r"of field (config\.\S+) is not supported for overriding", message):
        return (
            f"--{match[1]} is an object, which only a config file can replace; set its fields, "
            f"such as --{match[1]}.NAME=VALUE"
        )
    if match := re.match(r"flag (--\S+?)=.* as instance of <class '([\w.]+)'>", message):
        names = [each.name for each in dataclasses.fields(pkgutil.resolve_name(match[2]))]
        return f"{match[1]} is an object; set its fields, such as {match[1]}.{names[0]}=VALUE"
    if match := re.search(r"Attribute .*Attempting to lookup: (\S+)", message):
        return f"the config has no field {match[1]}"
    if "has no attribute 'get_config'" in message:
        return "the file of --config has no function get_config(); see configs/ for examples"
    for error, expected in _EXPECTED_TYPES.items():
        if match := re.match(rf"flag (--\S+?)=(.*): .*{re.escape(error)}", message):
            return f"{match[1]}={match[2]}: expected {expected}"
    return re.sub(r"^\w+Error: ", "", message)


def _explain_unknown_field(message: str, argv: list[str]) -> str:
    """Suggests the field that a misspelt flag may mean."""
    match = re.search(r"Field (\S+) not found on dataclass <class '([\w.]+)'>", message)
    if not match:
        return _explain_value(message)
    field, owner = match[1], pkgutil.resolve_name(match[2])
    known = [each.name for each in dataclasses.fields(owner)]
    close, config = difflib.get_close_matches(field, known, n=1), _load_config(argv)
    flag = usage.suggestion(field, config, similarity=1) or (
        repr(close[0]) if close else usage.suggestion(field, config)
    )
    hint = f"did you mean {flag}?" if flag else f"it has {', '.join(known)}"
    return f"the config's {owner.__name__} has no field {field!r}; {hint}"


def _explain_unknown_flag(error: flags.UnrecognizedFlagError, argv: list[str]) -> str:
    """Suggests the field of the config that a flag without `config.` may mean."""
    flag = (
        None
        if "Did you mean" in str(error)
        else usage.suggestion(error.flagname, _load_config(argv))
    )
    return f"unknown flag --{error.flagname}; did you mean {flag}?" if flag else str(error)


if __name__ == "__main__":
    gc.disable()  # Starting makes many objects and little garbage: a sixth of its time otherwise.
    app.run(main, flags_parser=parse)
