"""Times the network alone on one GPU, beside the same in PyTorch: `python -m benchmarks.gpu`.

Needs no data set. ResNet-101-PSPNet at 480x640 with 16 frontier classes or one output of depth:
training steps, prediction, the loss of 256 gray levels, and dilated convolutions. Every
result is printed and written to `--out` as soon as it is known; after `--seconds` no further case
starts, and those left out are listed. With `--tiny` all of it but PyTorch runs in minutes on a CPU.

The share of the peak (model FLOP utilisation) takes the operations that XLA counts before
optimisation, so recomputed ones don't count. PyTorch uses channels_last and autocast to bfloat16.
"""

import argparse
import dataclasses
import functools
import importlib.util
import json
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax import experiment, objectives, optim, state, steps
from psp_jax.batch import Batch
from psp_jax.io import command_line, files
from psp_jax.models import resnet, segmenter
from psp_jax.models.layers import Convolution
from psp_jax.models.precision import Precision, Remat
from psp_jax.runtime import summary

ALL, HEAD = ("trunk", "pyramid", "head", "classifier"), ("head", "classifier")
# Dense TFLOP/s of bfloat16 by a part of the device's name, from NVIDIA's data sheets.
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0, "4090": 165.0}
CLASSES, LEVELS = 16, 256
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


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Returns the mean milliseconds of a call whose work is queued on the device."""
    jax.block_until_ready(call())
    start = time.perf_counter()
    for _ in range(repeats):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats * 1000


def compiled(function: Any, *arguments: Any) -> tuple[Any, Result]:
    """Compiles a jitted function; returns it with its operations, memory and compile time."""
    lowered = function.lower(*arguments)
    start = time.perf_counter()
    program = lowered.compile()
    cost = lowered.cost_analysis() or {}
    memory = program.memory_analysis()
    mebibytes = None
    if memory is not None:
        arrays = memory.argument_size_in_bytes + memory.output_size_in_bytes
        arrays += memory.temp_size_in_bytes - memory.alias_size_in_bytes
        mebibytes = arrays / 2**20
    seconds = time.perf_counter() - start
    return program, {
        "compile_s": seconds,
        "gflop": cost.get("flops", 0) / 1e9,
        "predicted_mib": mebibytes,
    }


def rates(ms: float, images: int, about: Result) -> Result:
    """Adds milliseconds, images per second and the share of the peak to a result."""
    peak = next((tf for name, tf in PEAK_TFLOPS.items() if name in device_name()), None)
    share = about["gflop"] / ms / peak if peak and about.get("gflop") else None
    used = jax.local_devices()[0].memory_stats() or {}
    peak_mib = used["peak_bytes_in_use"] / 2**20 if "peak_bytes_in_use" in used else None
    more = {"ms": ms, "images_per_s": images / ms * 1000, "share_of_peak": share}
    return {**more, **about, "peak_mib_so_far": peak_mib}


def device_name() -> str:
    """Returns the name of the device."""
    return jax.devices()[0].device_kind


def network(scale: Scale, channels: int, precision: Precision, remat: Remat = Remat.NONE) -> Any:
    """Makes the PSPNet."""
    trunk = resnet.ResNet(layers=scale.layers, width=scale.width)
    return segmenter.Segmenter(trunk, precision=precision, remat=remat).make(channels)


def training_step(
    scale: Scale,
    *,
    count: int,
    precision: Precision = Precision.BFLOAT16,
    remat: Remat = Remat.NONE,
    train: tuple[str, ...] = ALL,
    objective: Any = None,
) -> Result:
    """Times a training step, with the state donated as in a run."""
    objective = objective or objectives.FrontierSoftmax()
    model = network(scale, objective.channels, precision, remat)
    batch, phase = make_batch(scale, count), experiment.Phase(steps=1, train=train)
    tx = optim.make(phase)
    step = functools.partial(
        steps.train_step, model=model, objective=objective, tx=tx, phase=phase, seed=0
    )
    variables = state.initial_variables(model, (*scale.size, 3), 0)
    held = [state.create(variables, tx, train, 0)]
    program, about = compiled(jax.jit(step, donate_argnums=0), held[0], batch)

    def call() -> Any:
        held[0], metrics = program(held[0], batch)
        return metrics

    return rates(timed(call, scale.repeats), count, about)


def prediction(scale: Scale, *, count: int) -> Result:
    """Times the prediction of classes and edges in bfloat16."""
    objective = objectives.FrontierSoftmax()
    model = network(scale, objective.channels, Precision.BFLOAT16)
    variables = state.initial_variables(model, (*scale.size, 3), 0)
    batch = make_batch(scale, count)
    predict = functools.partial(steps.predict, model=model, objective=objective)
    program, about = compiled(jax.jit(lambda v, b: predict(v, b)[1]), variables, batch)
    return rates(timed(lambda: program(variables, batch), scale.repeats), count, about)


def loss_alone(scale: Scale, *, strips: bool) -> Result:
    """Times value and gradient of the cross-entropy of gray levels, in strips or all at once."""
    objective, batch = objectives.DepthCE(), make_batch(scale, scale.batch)
    rows, columns = (-(-side // 8) for side in scale.size)
    output = jnp.zeros((scale.batch, rows, columns, objective.channels))

    def in_strips(output: jax.Array) -> jax.Array:
        return objective.loss(output, batch).value()

    def at_once(output: jax.Array) -> jax.Array:
        resized = jax.image.resize(output, (*batch.depth.shape, output.shape[-1]), "bilinear")
        return objective.loss(resized, batch).value()

    function = jax.jit(jax.value_and_grad(in_strips if strips else at_once))
    program, about = compiled(function, output)
    return rates(timed(lambda: program(output), scale.repeats), scale.batch, about)


def convolution(scale: Scale, *, dilation: int) -> Result:
    """Times a 3x3 convolution of stage 4, forward and backward, in bfloat16."""
    rows, columns, features = scale.size[0] // 8, scale.size[1] // 8, 8 * scale.width
    layer = Convolution(features, size=3, dilation=dilation)
    x = jnp.ones((scale.batch, rows, columns, features), jnp.bfloat16)
    variables = layer.init(jax.random.key(0), x[:1])

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        return jnp.square(layer.apply(variables, x).astype(jnp.float32)).mean()

    program, about = compiled(jax.jit(jax.grad(loss, argnums=(0, 1))), variables, x)
    return rates(timed(lambda: program(variables, x), scale.repeats), scale.batch, about)


def pytorch_step(scale: Scale, *, count: int, fused: bool) -> Result:
    """Times a training step of the same network in PyTorch; `fused` compiles it."""
    import torch

    from benchmarks import pytorch_pspnet

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    model = pytorch_pspnet.PSPNet(scale.layers, CLASSES, width=scale.width).to(device)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=cuda)
    image = torch.randn(count, 3, *scale.size, device=device)
    image = image.to(memory_format=torch.channels_last)
    target = torch.randint(0, CLASSES, (count, *scale.size), device=device)
    network: Any = torch.compile(model) if fused else model

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            output = network(image)
        output = torch.nn.functional.interpolate(
            output.float(), scale.size, mode="bilinear", align_corners=True
        )
        loss = torch.nn.functional.cross_entropy(output, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    def synchronise() -> None:
        if cuda:
            torch.cuda.synchronize()

    start = time.perf_counter()
    for _ in range(3):  # The first calls compile, and cuDNN chooses its algorithms.
        step()
    synchronise()
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(scale.repeats):
        step()
    synchronise()
    ms = (time.perf_counter() - start) / scale.repeats * 1000
    return {"ms": ms, "images_per_s": count / ms * 1000, "compile_s": first}


def cases(scale: Scale) -> dict[str, Callable[[], Result]]:
    """Returns what is measured by name, the most important first."""
    step, n = functools.partial(training_step, scale), scale.batch
    fits = {
        f"training step, bfloat16, batch {n}": functools.partial(step, count=n),
        f"PyTorch training step, bfloat16, batch {n}": functools.partial(
            pytorch_step, scale, count=n, fused=False
        ),
        "prediction, bfloat16, batch 1": functools.partial(prediction, scale, count=1),
        f"prediction, bfloat16, batch {n}": functools.partial(prediction, scale, count=n),
        f"training step, float32, batch {n}": functools.partial(
            step, count=n, precision=Precision.FLOAT32
        ),
        f"heads alone, bfloat16, batch {n}": functools.partial(step, count=n, train=HEAD),
        f"PyTorch training step, compiled, bfloat16, batch {n}": functools.partial(
            pytorch_step, scale, count=n, fused=True
        ),
        "loss of 256 levels in strips": functools.partial(loss_alone, scale, strips=True),
        "loss of 256 levels at once": functools.partial(loss_alone, scale, strips=False),
        "3x3 convolution": functools.partial(convolution, scale, dilation=1),
        "3x3 convolution, dilation 4": functools.partial(convolution, scale, dilation=4),
        f"training step, 256 levels, bfloat16, batch {n}": functools.partial(
            step, count=n, objective=objectives.DepthCE()
        ),
        f"training step, blocks recomputed, batch {2 * n}": functools.partial(
            step, count=2 * n, remat=Remat.BLOCKS
        ),
        f"training step, bfloat16, batch {2 * n}": functools.partial(step, count=2 * n),
        "training step, bfloat16, batch 3": functools.partial(step, count=3),
    }
    if importlib.util.find_spec("torch") is None or scale == TINY:
        fits = {name: case for name, case in fits.items() if "PyTorch" not in name}
    return fits


def main(arguments: argparse.Namespace) -> None:
    """Runs the cases until the time is over."""
    scale = TINY if arguments.tiny else Scale()
    start, left_out = time.monotonic(), []
    results: Result = {
        "device": device_name(),
        "memory_mib": (summary.device_bytes() or 0) / 2**20,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "scale": dataclasses.asdict(scale),
    }
    print(f"{results['device']}, jax {results['jax']}", flush=True)
    for name, case in cases(scale).items():
        if time.monotonic() - start > arguments.seconds:
            left_out.append(name)
            continue
        try:
            result = case()
        except Exception as error:  # The other cases are still worth their time.
            result = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        results[name] = result
        shown = {k: round(v, 3) for k, v in result.items() if isinstance(v, float)}
        print(f"{name}: {shown or result}", flush=True)
        files.write(arguments.out, json.dumps(results, indent=2) + "\n")
    if left_out:
        print(f"left out after {arguments.seconds} s: {', '.join(left_out)}")


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, for a CPU")
    parser.add_argument("--seconds", type=float, default=600.0, help="no case starts after this")
    parser.add_argument(
        "--out", type=command_line.path, default=pathlib.Path("gpu.json"), help="JSON of results"
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
