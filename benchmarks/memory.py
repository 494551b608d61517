"""Computes how many images of 480x640 fit a card: `python -m benchmarks.memory`.

ResNet-101-PSPNet, 256 gray levels, 480x640, Adam. Nothing is allocated: steps are compiled on CPU
for shapes at two batch sizes, and XLA's memory analysis gives the fixed memory and the memory per
image. XLA for CPUs undoes recomputation and computes bfloat16 in float32, so those
rows are estimates: JAX's residuals, plus all residuals of the largest block that is computed again.
Without recomputation XLA keeps less than JAX's residuals, as the first rows show.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax import experiment, objectives, optim, state, steps
from psp_jax.batch import Batch
from psp_jax.io import command_line
from psp_jax.models import resnet, segmenter
from psp_jax.models.architecture import SEMSEG
from psp_jax.models.precision import Precision, Remat

SIZE = (480, 640)
ALL, HEAD = ("trunk", "pyramid", "head", "classifier"), ("head", "classifier")
USABLE_SHARE = 0.92  # The driver and cuDNN's workspace take the rest.
GIB = 2**30


def main() -> None:
    """Prints a line for each precision and remat mode."""
    parser = command_line.Parser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--card", type=float, default=12.0, help="memory in GiB, of which 92 %% are usable"
    )
    parser.add_argument("--depth", type=int, default=101, help="layers of the trunk")
    arguments = parser.parse_args()
    usable = USABLE_SHARE * arguments.card * GIB
    print(f"ResNet-{arguments.depth}-PSPNet, 256 levels, {SIZE[0]}x{SIZE[1]}, {arguments.card} GiB")
    for train in (HEAD, ALL):
        plain = segmenter.Segmenter(resnet.ResNet(arguments.depth))
        two, four = (analysed(plain, train, count) for count in (2, 4))
        an_image = (four - two) / 2
        fixed = two - 2 * an_image
        if train == HEAD:
            line(train, plain, fixed, an_image, usable, "XLA")
            continue  # A frozen trunk has no residuals.
        kept = residuals(plain, train)
        line(train, plain, fixed, an_image, usable, f"XLA; JAX keeps {kept / GIB:.2f} an image")
        for precision in Precision:
            for remat in (Remat.CONVOLUTIONS, Remat.BLOCKS):
                model = segmenter.Segmenter(
                    resnet.ResNet(arguments.depth), precision=precision, remat=remat
                )
                an_image = residuals(model, train) + largest_block(precision)
                line(train, model, fixed, an_image, usable, "estimate")


def line(train, model, fixed: float, an_image: float, usable: float, origin: str) -> None:
    """Prints the number of images that fit."""
    what, fit = "all" if train == ALL else "head", int((usable - fixed) / an_image)
    print(
        f"  {what:<4} precision={model.precision:<8} remat={model.remat:<12} "
        f"{fixed / GIB:.2f} GiB + {an_image / GIB:.2f} an image: {fit} "
        f"fit ({origin})",
        flush=True,
    )


def shapes(count: int) -> Batch:
    """Returns a batch of shapes."""
    image = jax.ShapeDtypeStruct((count, *SIZE, 3), np.uint8)
    depth = jax.ShapeDtypeStruct((count, *SIZE), np.float32)
    classes = jax.ShapeDtypeStruct((count, *SIZE), np.uint8)
    filled = jax.ShapeDtypeStruct((count, *SIZE), bool)
    leaves: Any = (image, depth, depth, classes, filled, jax.ShapeDtypeStruct((count,), bool))
    return Batch(*leaves)


def drawn(network: Any, batch: Batch) -> Any:
    """Returns the shapes of the variables."""
    return jax.eval_shape(
        lambda batch: network.init(jax.random.key(0), network.inputs(batch)), batch
    )


def analysed(model: segmenter.Segmenter, train: tuple[str, ...], count: int) -> float:
    """Returns the bytes of a step with `count` images according to XLA."""
    objective, batch = objectives.DepthCE(), shapes(count)
    network = model.make(objective.channels)
    phase = experiment.Phase(steps=1, train=train)
    tx = optim.make(phase)
    variables = drawn(network, batch)
    current = jax.eval_shape(lambda given: state.create(given, tx, train, 0), variables)
    step = functools.partial(
        steps.train_step, model=network, objective=objective, tx=tx, phase=phase, seed=0
    )
    memory: Any = jax.jit(step, donate_argnums=0).lower(current, batch).compile().memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def residuals(model: segmenter.Segmenter, train: tuple[str, ...]) -> float:
    """Returns the bytes per image of JAX's residuals, for two images, as batch norm needs them."""
    objective, batch = objectives.DepthCE(), shapes(2)
    network: Any = model.make(objective.channels)

    def loss(params, stats, batch):
        output, _ = network.apply(
            {"params": params, "batch_stats": stats},
            network.inputs(batch),
            train=train,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return objective.loss(output, batch).value()

    variables = drawn(network, batch)
    return kept_of(loss, variables["params"], variables["batch_stats"], batch) / 2


def largest_block(precision: Precision) -> float:
    """Returns the bytes per image of all residuals of the stem or a block of the first stage."""
    blocks: list[tuple[Any, tuple[int, ...]]] = [
        (resnet.Stem(64, SEMSEG), (*SIZE, 3)),
        (resnet.Block(256, 1, 1, True, SEMSEG), (SIZE[0] // 4, SIZE[1] // 4, 256)),
    ]
    sizes = []
    for block, shape in blocks:
        dtype = jnp.bfloat16 if precision == Precision.BFLOAT16 else jnp.float32
        x = jax.ShapeDtypeStruct((2, *shape), dtype)
        init = functools.partial(block.init, train=False)
        variables = jax.eval_shape(init, jax.random.key(0), x)

        def loss(params, stats, x, block=block):
            y, _ = block.apply(
                {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(y.astype(jnp.float32))

        sizes.append(kept_of(loss, variables["params"], variables["batch_stats"], x) / 2)
    return max(sizes)


def kept_of(loss: Any, params: Any, *others: Any) -> int:
    """Returns the bytes of the residuals of a loss, without the parameters."""

    def pull(params, *others):
        return jax.vjp(lambda params: loss(params, *others), params)[1]

    leaves = jax.tree.leaves(jax.eval_shape(pull, params, *others))
    whole = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return whole - sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))


if __name__ == "__main__":
    main()
