"""Times ResNet-50-PSPNet against PyTorch on this machine: `python benchmarks/pspnet.py`.

Both networks compute the same function (tests/parity) on one image of 240x320; runs alternate, and
the ratio of their medians is what counts: at most 1.0 forward, at most 1.1 with the gradient.
Then it compiles the training step of ResNet-101-PSPNet at 480x640, which may take 60 s on 2 cores.
Needs PyTorch: pip install -e ".[parity]".
"""

import functools
import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from psp_jax import experiment, objectives, optim, state, steps
from psp_jax.models import segmenter
from tests.batches import make_batch
from tests.parity import reference

CLASSES, SIZE, RUNS = 16, (240, 320), 7
ALL = ("trunk", "pyramid", "head", "classifier")


def main() -> None:
    """Prints the medians and their ratios, and how long compiling takes."""
    compare()
    compile_full_size()


def compare() -> None:
    """Prints the medians of both and their ratios."""
    other = reference.PSPNet(50, CLASSES)
    reference.randomise(other, 0)
    other.eval()
    model = segmenter.Segmenter(depth=50, dropout=0.0).make(CLASSES)
    variables = jax.tree.map(jnp.asarray, reference.variables_of(other))
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


def compile_full_size() -> None:
    """Compiles a training step of all parts, batch 2 of 480x640, as the full-size configs do."""
    model = segmenter.Segmenter(depth=101).make(1)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        make_batch(np.ones((2, 480, 640))),
    )
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
    variables = jax.eval_shape(
        lambda batch: model.init(jax.random.key(0), model.inputs(batch)), batch
    )
    current = jax.eval_shape(lambda given: state.create(given, tx, ALL, 0), variables)
    lowered = jax.jit(step, donate_argnums=0).lower(current, batch)
    timed_compile("training step of ResNet-101-PSPNet at 480x640", lowered)


def timed_compile(name: str, lowered):
    """Compiles and says how long it took."""
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
