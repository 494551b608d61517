"""A compiled function that knows its operations and its memory."""

import dataclasses
from typing import Any

from psp_jax.models import profile


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A compiled function, called as the one that it was compiled from.

    Attributes:
        program: compiled by XLA.
        gflop: see `profile.gflop`.
    """

    program: Any
    gflop: float

    def __call__(self, *arguments: Any) -> Any:
        """Queues the program on the device."""
        return self.program(*arguments)

    @property
    def memory_bytes(self) -> int | None:
        """Memory of its arguments, results and intermediates on a device, if XLA tells it."""
        memory = self.program.memory_analysis()
        if memory is None:
            return None
        arrays = memory.argument_size_in_bytes + memory.output_size_in_bytes
        return arrays + memory.temp_size_in_bytes - memory.alias_size_in_bytes


def compile_step(jitted: Any, *arguments: Any) -> CompiledStep:
    """Compiles a jitted function for arguments of these shapes; computes nothing."""
    traced = jitted.trace(*arguments)
    return CompiledStep(traced.lower().compile(), profile.gflop(traced.jaxpr.jaxpr))
