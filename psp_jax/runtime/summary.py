"""Summary of a phase before it starts: data, parameters trained and frozen, work, memory."""

import os
from typing import Any

import jax
import numpy as np
import tabulate

from psp_jax import data
from psp_jax.experiment import Experiment, Phase
from psp_jax.models import parts, profile
from psp_jax.runtime import mesh
from psp_jax.runtime.compiled_step import CompiledStep
from psp_jax.state import TrainState


def describe(
    config: Experiment,
    phase: Phase,
    current: TrainState,
    splits: dict[str, data.Examples],
    compiled: CompiledStep,
) -> str:
    """Describes a phase before it starts.

    Args:
        config: the experiment.
        phase: the phase.
        current: the state from which it starts.
        splits: examples by split.
        compiled: the training step.
    """
    examples = splits["train"]
    height, width = data.image_size(examples)
    images = ", ".join(f"{len(examples)} {name}" for name, examples in splits.items())
    count = jax.device_count()
    devices = f"{count} x " if count > 1 else ""
    lines = [
        f"{config.name}: {type(config.objective).__name__}, {phase.steps} steps of "
        f"{_images(config, phase)} images on {devices}{jax.devices()[0].device_kind}",
        f"  data    {height}x{width}: {images}",
        *(f"  {line}" for line in parts_table(config, phase, current, examples).splitlines()),
    ]
    if count > 1:
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(current)) / 2**20
        held = mesh.bytes_per_device(current) / 2**20
        lines.append(
            f"  devices {count} in {jax.process_count()} processes; a device holds {held:.3g} of "
            f"{whole:.3g} MiB of the state, and of a step:"
        )
    memory_bytes, limit_bytes = compiled.memory_bytes, device_bytes()
    lines.append(f"  a step  {compiled.gflop:.1f} GFLOP, {_memory(memory_bytes)}")
    if memory_bytes is not None and limit_bytes is not None and memory_bytes > limit_bytes:
        lines.append(
            f"  {advice(memory_bytes, limit_bytes, config.data.batch_size, phase.accumulate)}"
        )
    return "\n".join(lines)


def parts_table(
    config: Experiment, phase: Phase, current: TrainState, examples: data.Examples
) -> str:
    """Tabulates the parts of the network: parameters, outputs and operations for one image."""
    model: Any = config.model.make(config.objective.channels)
    rows, columns = examples[0]["depth" if model.INPUT_CHANNELS == 1 else "image"].shape[:2]
    image = jax.ShapeDtypeStruct((1, rows, columns, model.INPUT_CHANNELS), np.float32)
    profiles = profile.profile(model, current.variables, image)
    lines = []
    for name, about in profiles.items():
        trained, frozen = parts.split({name: current.params.get(name, {})}, phase.train)
        shape = "" if about.output is None else "x".join(map(str, about.output))
        lines.append((name, _count(trained), _count(frozen), shape, about.gflop))
    sums = [sum(line[column] for line in lines) for column in (1, 2, 4)]
    lines.append(("all", *sums[:2], "", sums[2]))
    return tabulate.tabulate(
        lines,
        headers=(type(config.model).__name__, "trained", "frozen", "output", "GFLOP/image"),
        floatfmt=".3g",
        intfmt=",",
    )


def _images(config: Experiment, phase: Phase) -> str:
    of_a_batch = str(config.data.batch_size)
    return of_a_batch if phase.accumulate == 1 else f"{phase.accumulate} x {of_a_batch}"


def _count(tree: parts.Tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def advice(memory_bytes: int, limit_bytes: int, batch_size: int, accumulate: int) -> str:
    """Returns advice for a step that needs more memory than there is.

    Args:
        memory_bytes: needed by the step.
        limit_bytes: available.
        batch_size: images per batch.
        accumulate: batches per step.
    """
    fitting = max(1, int(batch_size * limit_bytes / memory_bytes))
    # A divisor of the batch, so that a step can keep its number of images.
    share = max(size for size in range(1, fitting + 1) if batch_size % size == 0)
    smaller = (
        f"config.data.batch_size={share} with accumulate={accumulate * batch_size // share} in "
        "the phase, which has as many images a step, "
        if share < batch_size
        else ""
    )
    return (
        f"more than the {limit_bytes / 2**20:,.0f} MiB of this device, so it may not fit. "
        f"Try {smaller}config.model.remat=convolutions or blocks, "
        "config.model.precision=bfloat16, fewer parts in the phase's train, or a data set of "
        "smaller images"
    )


def device_bytes() -> int | None:
    """Returns the memory that arrays may take: a device's own, or the machine's for a CPU."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    statistics = device.memory_stats()
    return statistics["bytes_limit"] if statistics else None


def _memory(memory_bytes: int | None) -> str:
    if memory_bytes is None:
        return "memory unknown on this device"
    return f"{memory_bytes / 2**20:,.0f} MiB of arrays by XLA's own count"
