import jax
import jax.numpy as jnp

from benchmarks import laptop
from configs import photographs
from psp_jax.runtime.compiled_step import compile_step


def test_a_profile_lists_the_operations_of_a_step_with_their_names():
    @jax.jit
    def product(x):
        with jax.named_scope("head"):
            return jnp.tanh(x @ x).sum()

    x = jnp.ones((256, 256))
    program = compile_step(product, x)
    step = laptop.Step(lambda: float(program(x)), program, images=1)
    lines = laptop.profile(step, 3)
    assert 0 < len(lines) <= 3
    assert any("head" in line and "f32" in line and " ms " in line for line in lines)


def test_images_are_as_much_finer_than_labels_as_those_of_the_data_set():
    batch = laptop.make_batch(photographs.get_config().data.source, 2)
    height, width = batch.depth.shape[1:]
    assert batch.image.shape == (2, 2 * height, 2 * width, 3)
