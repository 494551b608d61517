"""Computes the shape of the outputs and the operations of every part of a network."""

import collections
import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.extend import core


@dataclasses.dataclass(frozen=True)
class PartProfile:
    """What a part of a network computes of one image.

    Attributes:
        output: shape of its last output, without the batch axis; None if it computes nothing.
        gflop: 1e9 operations of its convolutions and matrix products, multiplications and
            additions, padding included.
    """

    output: tuple[int, ...] | None
    gflop: float


def profile(model: Any, variables: Any, image: Any) -> dict[str, PartProfile]:
    """Profiles the forward pass by tracing it; nothing is computed.

    Args:
        model: the network.
        variables: its variables, or their shapes.
        image: `[1, H, W, C]` float32 input, or its shape.

    Returns:
        A profile of every top-level part by name. `others` has the work outside of all parts.
    """
    variables, image = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (variables, image)
    )

    def capture(variables: Any, image: Any) -> Any:
        options = {"capture_intermediates": _is_part, "mutable": ["intermediates"]}
        return model.apply(variables, image, **options)[1]["intermediates"]

    program, outputs = jax.make_jaxpr(capture, return_shape=True)(variables, image)
    operations: collections.Counter[str] = collections.Counter()
    _count(program.jaxpr, "", 1, operations)
    names = [name for name in model.PARTS if name in variables["params"]]
    profiles: dict[str, float] = {}
    for stack, count in operations.items():
        name = next((name for name in stack.split("/") if name in names), "others")
        before = profiles.get(name, 0.0)
        profiles[name] = before + count / 1e9
    names += ["others"] if "others" in profiles else []
    return {
        name: PartProfile(_last_shape(outputs.get(name)), profiles.get(name, 0.0)) for name in names
    }


def gflop(jaxpr: core.Jaxpr) -> float:
    """Counts 1e9 operations of the convolutions and matrix products of a program.

    They are counted before the compiler changes the program, so they do not depend on the device.
    """
    operations: collections.Counter[str] = collections.Counter()
    _count(jaxpr, "", 1, operations)
    return operations.total() / 1e9


def _is_part(module: Any, method: str) -> bool:
    return len(module.path) == 1 and method == "__call__"


def _last_shape(outputs: Any) -> tuple[int, ...] | None:
    """Returns the shape of the last map of most channels, which of a trunk is the last stage."""
    leaves = jax.tree.leaves(outputs)[::-1]
    return max(leaves, key=lambda leaf: leaf.shape[-1]).shape[1:] if leaves else None


def _count(jaxpr: core.Jaxpr, stack: str, times: int, operations: collections.Counter[str]) -> None:
    """Adds the operations of a program, by the names of the modules that it is part of."""
    for equation in jaxpr.eqns:
        inner = f"{stack}/{equation.source_info.name_stack}"
        operations[inner] += times * _operations(equation)
        repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, core.ClosedJaxpr)
        ):
            if isinstance(value, core.ClosedJaxpr):
                value = value.jaxpr
            if isinstance(value, core.Jaxpr):
                _count(value, inner, times * repeats, operations)


def _operations(equation: Any) -> int:
    """Returns the multiplications and additions of a convolution or a matrix product."""
    if equation.primitive.name not in ("conv_general_dilated", "dot_general"):
        return 0
    left, right = (variable.aval.shape for variable in equation.invars[:2])
    outputs = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2 * outputs * math.prod(left[axis] for axis in contracted)
    features = equation.params["dimension_numbers"].rhs_spec[0]
    return 2 * outputs * math.prod(np.delete(right, features).tolist())
