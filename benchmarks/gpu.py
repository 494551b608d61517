"""Times the network alone on one GPU, beside the same in PyTorch: `python -m benchmarks.gpu`.

Needs no data set. ResNet-101-PSPNet at 480x640 with 16 frontier classes: training steps,
prediction, the loss of 256 gray levels, and dilated convolutions. Every result is printed and
written to `--out` as soon as it is known; after `--seconds` no further case starts, and those left
out are listed. XLA takes a minute to compile a training step, so `--only` chooses cases. With
`--tiny` all of it but PyTorch runs in minutes on a CPU.

The share of the peak of bfloat16 (model FLOP utilisation) counts convolutions and matrix products
as the program has them before the compiler changes it, recomputed ones too. PyTorch uses
channels_last and autocast to bfloat16.
"""

import argparse
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.timing import Case
from psp_jax import experiment, objectives, optim, state, steps
from psp_jax.batch import Batch
from psp_jax.io import command_line, files
from psp_jax.models import resnet, segmenter
from psp_jax.models.layers import Convolution
from psp_jax.models.precision import Precision, Remat
from psp_jax.runtime import summary
from psp_jax.runtime.compiled_step import CompiledStep

ALL, HEAD = ("trunk", "pyramid", "head", "classifier"), ("head", "classifier")
# Dense TFLOP/s of bfloat16 by a part of the device's name, from NVIDIA's data sheets.
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0, "4090": 165.0}
CLASSES = 16
KERNELS = 30  # Kinds of them in a profile.
Result = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of the benchmark.

    Attributes:
        layers, width: of the trunk.
        size: height and width of the images.
        batch: images in a training step.
        repeats: timed calls of a function.
    """

    layers: int = 101
    width: int = 64
    size: tuple[int, int] = (480, 640)
    batch: int = 8
    repeats: int = 10


TINY = Scale(layers=10, width=4, size=(48, 64), batch=2, repeats=2)


def make_batch(scale: Scale, count: int) -> Batch:
    """Makes `count` random examples on the device."""
    rng = np.random.default_rng(0)
    shape = count, *scale.size
    depth = rng.uniform(0.5, 9, shape).astype(np.float32)
    arrays = Batch(
        image=rng.integers(0, 256, (*shape, 3), np.uint8),
        depth=depth,
        filled_depth=depth,
        frontier=rng.integers(0, CLASSES, shape, np.uint8),
        filled=np.zeros(shape, bool),
        valid=np.ones(count, bool),
    )
    return jax.device_put(arrays)


def measure(case: Case, program: CompiledStep, compile_s: float) -> Result:
    """Times a compiled case."""
    ms = timing.timed(case.call(program), case.repeats)
    peak = next((tf for name, tf in PEAK_TFLOPS.items() if name in device_name()), None)
    used = jax.local_devices()[0].memory_stats() or {}
    memory = program.memory_bytes
    return {
        "ms": ms,
        "images_per_s": case.images / ms * 1000,
        "share_of_peak": program.gflop / ms / peak if peak else None,
        "gflop": program.gflop,
        "compile_s": compile_s,
        "predicted_mib": None if memory is None else memory / 2**20,
        # Of the process; a case that needs less than an earlier one does not change it.
        "peak_mib": used["peak_bytes_in_use"] / 2**20 if "peak_bytes_in_use" in used else None,
    }


def device_name() -> str:
    """Returns the name of the device."""
    return jax.devices()[0].device_kind


def network(scale: Scale, channels: int, precision: Precision, remat: Remat = Remat.NONE) -> Any:
    """Makes the PSPNet."""
    trunk = resnet.ResNet(layers=scale.layers, width=scale.width)
    return segmenter.Segmenter(trunk, precision=precision, remat=remat).make(channels)


@functools.cache
def variables(scale: Scale, channels: int) -> Any:
    """Makes initial variables, as NumPy arrays."""
    model = network(scale, channels, Precision.FLOAT32)
    return jax.device_get(state.initial_variables(model, (*scale.size, 3), 0))


def training_step(
    scale: Scale,
    *,
    count: int,
    precision: Precision = Precision.BFLOAT16,
    remat: Remat = Remat.NONE,
    train: tuple[str, ...] = ALL,
) -> Case:
    """Prepares a training step of classes, with the state donated as in a run."""
    objective = objectives.FrontierSoftmax()
    model = network(scale, objective.channels, precision, remat)
    phase = experiment.Phase(steps=1, train=train)
    tx = optim.make(phase)
    step = functools.partial(
        steps.train_step, model=model, objective=objective, tx=tx, phase=phase, seed=0
    )
    start = variables(scale, objective.channels)

    def make() -> tuple[Any, Batch]:
        copied = jax.tree.map(jnp.array, start)  # The step overwrites them.
        return state.create(copied, tx, train, 0), make_batch(scale, count)

    function = jax.jit(step, donate_argnums=0)
    return Case(function, jax.eval_shape(make), make, count, scale.repeats, trains=True)


def prediction(scale: Scale, *, count: int) -> Case:
    """Prepares the prediction of classes and edges in bfloat16."""
    objective = objectives.FrontierSoftmax()
    model = network(scale, objective.channels, Precision.BFLOAT16)
    predict = functools.partial(steps.predict, model=model, objective=objective)
    start = variables(scale, objective.channels)

    def make() -> tuple[Any, Batch]:
        return jax.device_put(start), make_batch(scale, count)

    function = jax.jit(lambda variables, batch: predict(variables, batch)[1])
    return Case(function, jax.eval_shape(make), make, count, scale.repeats)


def loss_alone(scale: Scale, *, strips: bool) -> Case:
    """Prepares the cross-entropy of gray levels and its gradient, in strips or all at once."""
    objective = objectives.DepthCE()
    rows, columns = (-(-side // 8) for side in scale.size)

    def in_strips(output: jax.Array, batch: Batch) -> jax.Array:
        return objective.loss(output, batch).value()

    def at_once(output: jax.Array, batch: Batch) -> jax.Array:
        resized = jax.image.resize(output, (*batch.depth.shape, output.shape[-1]), "bilinear")
        return objective.loss(resized, batch).value()

    def make() -> tuple[jax.Array, Batch]:
        shape = scale.batch, rows, columns, objective.channels
        return jax.random.normal(jax.random.key(0), shape), make_batch(scale, scale.batch)

    function = jax.jit(jax.value_and_grad(in_strips if strips else at_once))
    return Case(function, jax.eval_shape(make), make, scale.batch, scale.repeats)


def convolution(scale: Scale, *, dilation: int) -> Case:
    """Prepares a 3x3 convolution of stage 4, forward and backward, in bfloat16."""
    rows, columns, features = scale.size[0] // 8, scale.size[1] // 8, 8 * scale.width
    layer = Convolution(features, size=3, dilation=dilation)

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        return jnp.square(layer.apply(variables, x).astype(jnp.float32)).mean()

    def make() -> tuple[Any, jax.Array]:
        shape = scale.batch, rows, columns, features
        x = jax.random.normal(jax.random.key(0), shape, jnp.bfloat16)
        return layer.init(jax.random.key(0), x[:1]), x

    function = jax.jit(jax.grad(loss, argnums=(0, 1)))
    return Case(function, jax.eval_shape(make), make, scale.batch, scale.repeats)


def _pytorch_step(scale: Scale, *, fused: bool) -> Result:
    from benchmarks import pytorch_pspnet

    first_s, ms = pytorch_pspnet.time_training_step(
        layers=scale.layers,
        classes=CLASSES,
        width=scale.width,
        size=scale.size,
        batch=scale.batch,
        repeats=scale.repeats,
        fused=fused,
    )
    return {"ms": ms, "images_per_s": scale.batch / ms * 1000, "compile_s": first_s}


def cases(scale: Scale) -> dict[str, Callable[[], Case | Result]]:
    """Returns what is timed by name, the most important first: cases, or what times itself."""
    step, n = functools.partial(training_step, scale), scale.batch
    predict, loss = functools.partial(prediction, scale), functools.partial(loss_alone, scale)
    pytorch = functools.partial(_pytorch_step, scale)
    every = {
        f"training step, bfloat16, batch {n}": lambda: step(count=n),
        f"PyTorch training step, bfloat16, batch {n}": lambda: pytorch(fused=False),
        f"prediction, bfloat16, batch {n}": lambda: predict(count=n),
        "3x3 convolution": lambda: convolution(scale, dilation=1),
        "3x3 convolution, dilation 4": lambda: convolution(scale, dilation=4),
        f"PyTorch training step, compiled, bfloat16, batch {n}": lambda: pytorch(fused=True),
        "prediction, bfloat16, batch 1": lambda: predict(count=1),
        "loss of 256 levels in strips": lambda: loss(strips=True),
        "loss of 256 levels at once": lambda: loss(strips=False),
        f"heads alone, bfloat16, batch {n}": lambda: step(count=n, train=HEAD),
        f"training step, float32, batch {n}": lambda: step(count=n, precision=Precision.FLOAT32),
        f"training step, bfloat16, batch {2 * n}": lambda: step(count=2 * n),
        f"training step, blocks recomputed, batch {2 * n}": lambda: step(
            count=2 * n, remat=Remat.BLOCKS
        ),
    }
    if importlib.util.find_spec("torch") is None or scale == TINY:
        every = {name: case for name, case in every.items() if "PyTorch" not in name}
    return every


def main(arguments: argparse.Namespace) -> None:
    """Runs the cases until the time is over."""
    # All of the memory, which JAX takes at its start otherwise, would leave none to PyTorch.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    scale = TINY if arguments.tiny else Scale(layers=arguments.layers)
    start, left_out = time.monotonic(), []
    results: Result = {
        "device": device_name(),
        "memory_mib": (summary.device_bytes() or 0) / 2**20,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "scale": dataclasses.asdict(scale),
    }
    print(f"{results['device']}, jax {results['jax']}", flush=True)
    wanted = {name: make for name, make in cases(scale).items() if arguments.only in name}
    if not wanted:
        raise ValueError(f"--only={arguments.only}: expected a part of {'; '.join(cases(scale))}")
    for name, make in wanted.items():
        if time.monotonic() - start > arguments.seconds:
            left_out.append(name)
            continue
        lines: list[str] = []
        try:
            result = make()
            if isinstance(result, Case):
                case, (program, compile_s) = result, result.compile()
                result = measure(case, program, compile_s)
                if arguments.profile:
                    lines = timing.kernels(case.call(program), KERNELS)
        except Exception as error:  # The other cases are still worth their time.
            result = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        results[name] = result
        shown = {k: round(v, 3) for k, v in result.items() if isinstance(v, float)}
        print(f"{name}: {shown or result}", flush=True)
        files.write(arguments.out, json.dumps(results, indent=2) + "\n")
        print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    if left_out:
        print(f"left out after {arguments.seconds} s: {', '.join(left_out)}")


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, for a CPU")
    parser.add_argument("--layers", type=int, choices=(50, 101), default=101, help="of the ResNet")
    parser.add_argument("--only", default="", help="part of the names of the cases to run")
    parser.add_argument(
        "--profile", action="store_true", help="list the slowest kernels of every case"
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="no case starts after this")
    parser.add_argument(
        "--out", type=command_line.path, default=pathlib.Path("gpu.json"), help="JSON of results"
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
