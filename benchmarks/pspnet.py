"""Times ResNet-50-PSPNet against PyTorch on this machine: `python -m benchmarks.pspnet`.

Both networks compute the same function (tests/parity) on one image of 240x320. Their runs
alternate. The goals are ratios of the medians: at most 1.0 forward, at most 1.1 with the gradient.
Then it compiles the training step of ResNet-101-PSPNet at 480x640; the goal is 60 s on 2 cores.
Needs PyTorch: pip install -e ".[parity]".
"""

import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import memory, pytorch_pspnet
from psp_jax import experiment, objectives, optim, state, steps
from psp_jax.models import resnet, segmenter

CLASSES, SIZE, RUNS = 16, (240, 320), 7
ALL = ("trunk", "pyramid", "head", "classifier")


def main() -> None:
    """Prints the medians, their ratios, and compile times."""
    compare()
    compile_training_step()


def compare() -> None:
    """Prints the median times of both networks and their ratios."""
    other = pytorch_pspnet.PSPNet(50, CLASSES)
    pytorch_pspnet.randomise(other, 0)
    other.eval()
    model = segmenter.Segmenter(resnet.ResNet(50), dropout=0.0).make(CLASSES)
    variables = jax.tree.map(jnp.asarray, pytorch_pspnet.variables_of(other))
    image = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype(np.float32)
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())

    def loss(params):
        # Batch norms use their running statistics in both: one image can't train the 1x1 bin.
        return model.apply(variables | {"params": params}, image).sum()

    forward = timed_compile("forward", jax.jit(model.apply).lower(variables, image))
    backward = timed_compile("gradient", jax.jit(jax.grad(loss)).lower(variables["params"]))

    def torch_forward():
        with torch.no_grad():
            other(x)

    def torch_backward():
        other.zero_grad()
        other(x).sum().backward()

    pairs = {
        "forward": (lambda: jax.block_until_ready(forward(variables, image)), torch_forward),
        "forward and backward": (
            lambda: jax.block_until_ready(backward(variables["params"])),
            torch_backward,
        ),
    }
    for name, (ours, theirs) in pairs.items():
        seconds = [(elapsed(ours), elapsed(theirs)) for _ in range(RUNS + 1)][1:]
        medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
        print(
            f"{name}: psp_jax {medians[0]:.2f} s, PyTorch {medians[1]:.2f} s, "
            f"ratio {medians[0] / medians[1]:.2f}"
        )


def compile_training_step() -> None:
    """Compiles a training step of all parts with 2 images of 480x640, as the ScanNet configs do."""
    model = segmenter.Segmenter(resnet.ResNet(101)).make(1)
    batch = memory.shapes(2)
    phase = experiment.Phase(steps=1, train=ALL)
    tx = optim.make(phase)
    step = functools.partial(
        steps.train_step,
        model=model,
        objective=objectives.DepthMSE(),
        tx=tx,
        phase=phase,
        seed=0,
    )
    variables = memory.drawn(model, batch)
    current = jax.eval_shape(lambda given: state.create(given, tx, ALL, 0), variables)
    lowered = jax.jit(step, donate_argnums=0).lower(current, batch)
    timed_compile("training step of ResNet-101-PSPNet at 480x640", lowered)


def timed_compile(name: str, lowered):
    """Compiles and prints the time."""
    began_s = time.perf_counter()
    compiled = lowered.compile()
    print(f"compiling the {name} took {time.perf_counter() - began_s:.1f} s")
    return compiled


def elapsed(call) -> float:
    """Returns the seconds that a call takes."""
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
