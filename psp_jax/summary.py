"""What a phase will do, as text: data, parameters trained and frozen, work and memory."""

from typing import Any

import jax

from psp_jax import data, parts
from psp_jax.experiment import Experiment, Phase
from psp_jax.state import TrainState


def describe(
    config: Experiment,
    phase: Phase,
    current: TrainState,
    splits: dict[str, data.Examples],
    compiled: Any,
) -> str:
    """Describes a phase before it starts.

    Args:
        config: the experiment.
        phase: what is about to be trained.
        current: the state it starts from.
        splits: examples by split.
        compiled: the compiled training step, asked for its operations and memory.
    """
    height, width = data.image_size(splits["train"])
    images = ", ".join(f"{len(examples)} {name}" for name, examples in splits.items())
    lines = [
        f"{config.name}: {type(config.objective).__name__}, {phase.steps} steps of "
        f"{config.data.batch_size} images on {jax.devices()[0].device_kind}",
        f"  data    {height}x{width}: {images}",
        f"  model   {config.model}",
    ]
    for name, child in current.params.items():
        trained, frozen = parts.split({name: child}, phase.train)
        lines.append(f"    {name:<11}{_count(trained):>12,} trained{_count(frozen):>12,} frozen")
    trained, frozen = parts.split(current.params, phase.train)
    lines.append(f"    {'all':<11}{_count(trained):>12,} trained{_count(frozen):>12,} frozen")
    lines.append(f"  a step  {_work(compiled)}, {_memory(compiled)}")
    return "\n".join(lines)


def _count(tree: parts.Tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _work(compiled: Any) -> str:
    cost = compiled.cost_analysis() or {}
    flops = cost.get("flops", 0)
    return f"{flops / 1e9:.1f} GFLOP" if flops > 0 else "GFLOP unknown on this device"


def _memory(compiled: Any) -> str:
    memory = compiled.memory_analysis()
    if memory is None:
        return "memory unknown on this device"
    size = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return f"{size / 2**20:,.0f} MiB of arrays by XLA's own count"
