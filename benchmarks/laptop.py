"""Times training steps of configs at laptop size: `python -m benchmarks.laptop [CONFIG ...]`.

Needs no data set. The steps of all configs take turns, so that another load on the machine slows
all of them; with `--profile=N`, the N operations of XLA that take the most time are listed. The
printed loss is of the first step on random images, by which two versions of the code are compared.
"""

import argparse
import collections
import dataclasses
import functools
import importlib.util
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import gpu, timing
from psp_jax import optim, state, train
from psp_jax.batch import Batch
from psp_jax.io import command_line
from psp_jax.runtime.compiled_step import CompiledStep, compile_step


@dataclasses.dataclass
class Step:
    """A compiled training step of a config.

    Attributes:
        call: takes one step and returns its loss.
        compiled: the step.
        images: in a batch.
        times_s: of every call.
    """

    call: Callable[[], float]
    compiled: CompiledStep
    images: int
    times_s: list[float] = dataclasses.field(default_factory=list)


def prepare(name: str) -> Step:
    """Compiles the training step of the first phase of a config."""
    if importlib.util.find_spec(f"configs.{name}") is None:
        raise ValueError(f"expected names in configs/, such as depth_mse, got {name}")
    config: Any = importlib.import_module(f"configs.{name}").get_config()
    phase, model = config.phases[0], config.model.make(config.objective.channels)
    batch = make_batch(config.data.source, config.data.batch_size)
    create = state.create_with_ema if phase.ema_decay else state.create
    variables = state.initial_variables(model, batch.image.shape[1:], config.seed)
    first = create(variables, optim.make(phase), phase.train, 0)
    program = compile_step(jax.jit(train.make_step(config, phase, model)), first, batch)

    def call() -> float:
        return float(program(first, batch)[1]["loss"])

    return Step(call, program, config.data.batch_size)


def make_batch(source: Any, count: int) -> Batch:
    """Makes random examples of the size of a data set."""
    height, width = source.size()
    batch = gpu.make_batch(dataclasses.replace(gpu.TINY, size=(height, width)), count)
    finer = functools.partial(jnp.repeat, repeats=source.color_scale)
    return dataclasses.replace(batch, image=finer(finer(batch.image, axis=1), axis=2))


def profile(step: Step, count: int) -> list[str]:
    """Returns the operations that take the most time of a step, with their milliseconds."""
    spent: collections.Counter[str] = collections.Counter()
    for event in timing.trace(step.call):
        if "hlo_op" in event.get("args", {}):
            spent[event["args"]["hlo_op"]] += event["dur"]
    text = step.compiled.program.as_text()
    shapes = dict(re.findall(r"%?([\w.\-]+) = (\S+) ", text))
    names = dict(re.findall(r"%?([\w.\-]+) = .*op_name=\"([^\"]*)\"", text))
    return [
        f"{us / 1000:8.2f} ms  {shapes.get(name, ''):30.30}  {names.get(name, name)[-80:]}"
        for name, us in spent.most_common(count)
    ]


def main(arguments: argparse.Namespace) -> None:
    """Times the steps in turns and prints a line for each config."""
    steps = {name: prepare(name) for name in arguments.configs}
    losses = {name: step.call() for name, step in steps.items()}
    for _ in range(arguments.rounds):
        for step in steps.values():
            start = time.perf_counter()
            step.call()
            step.times_s.append(time.perf_counter() - start)
    for name, step in steps.items():
        median, best = np.median(step.times_s), min(step.times_s)
        print(
            f"{name}: {step.images / median:.1f} images/s, {median * 1000:.0f} ms a step "
            f"({best * 1000:.0f} at best), {step.compiled.gflop / best:.0f} GFLOP/s; "
            f"loss {losses[name]:.7g}"
        )
        if arguments.profile:
            print(*profile(step, arguments.profile), sep="\n")


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.laptop", description=__doc__)
    parser.add_argument(
        "configs",
        nargs="*",
        default=["depth_mse", "frontier_edges"],
        help="names in configs/ (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=command_line.positive_int, default=15)
    parser.add_argument("--profile", type=int, default=0, help="operations to list")
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
