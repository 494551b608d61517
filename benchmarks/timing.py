"""Times compiled functions, and lists where their time goes by JAX's profiler."""

import collections
import dataclasses
import glob
import gzip
import json
import re
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax

from psp_jax.runtime.compiled_step import CompiledStep, compile_step


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Returns the mean milliseconds of a call whose work is queued on the device."""
    jax.block_until_ready(call())
    start = time.perf_counter()
    for _ in range(repeats):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats * 1000


@dataclasses.dataclass(frozen=True)
class Case:
    """A function to compile and time.

    Attributes:
        function: jitted.
        shapes: of its arguments.
        make: makes the arguments on the device.
        images: in a call.
        repeats: timed calls.
        trains: whether it takes a state, which it may overwrite, and returns the next.
    """

    function: Any
    shapes: tuple[Any, ...]
    make: Callable[[], tuple[Any, ...]]
    images: int
    repeats: int
    trains: bool = False

    def compile(self) -> tuple[CompiledStep, float]:
        """Returns the compiled function and the seconds that it took."""
        start = time.perf_counter()
        program = compile_step(self.function, *self.shapes)
        return program, time.perf_counter() - start

    def call(self, program: CompiledStep) -> Callable[[], Any]:
        """Returns a function that calls the compiled one."""
        held, *others = self.make()

        def step() -> Any:
            nonlocal held
            held, metrics = program(held, *others)
            return metrics

        return step if self.trains else lambda: program(held, *others)


def kernels(call: Callable[[], Any], count: int) -> list[str]:
    """Returns the kinds of kernels that take the most time of a call, with their milliseconds."""
    spent: collections.Counter[str] = collections.Counter()
    number: collections.Counter[str] = collections.Counter()
    for event in trace(call):
        if event.get("thread", "").startswith("Stream"):
            kind = re.sub(r"[_.]\d+$", "", event["name"])
            spent[kind] += event["dur"]
            number[kind] += 1
    if not spent:
        return ["no kernels: only GPUs have them"]
    total = f"{spent.total() / 1000:8.2f} ms in all"
    return [total] + [f"{us / 1000:8.2f} {number[k]:5} x {k}" for k, us in spent.most_common(count)]


def trace(call: Callable[[], Any]) -> list[dict[str, Any]]:
    """Profiles a call; returns its complete events with the name of their `thread`."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(call())
        (file,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
        with gzip.open(file) as stream:
            events = json.load(stream)["traceEvents"]
    threads = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event.get("name") == "thread_name"
    }
    complete = [event for event in events if event.get("ph") == "X"]
    return [{**e, "thread": threads.get((e["pid"], e["tid"]), "")} for e in complete]
