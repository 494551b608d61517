import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.models import dilated, layers


@pytest.mark.parametrize(("size", "dilation"), [((13, 10), 2), ((16, 12), 4), ((3, 5), 4)])
def test_gradients_are_those_of_xla(size, dilation):
    x = jax.random.normal(jax.random.key(0), (2, *size, 4))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 6))

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            [(dilation, dilation)] * 2,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def gradients(convolve):
        return jax.grad(lambda *given: jnp.sin(convolve(*given)).sum(), (0, 1))(x, kernel)

    actual = gradients(lambda *given: layers.convolve(*given, dilation=dilation))
    for ours, theirs in zip(actual, gradients(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_phases_take_every_other_row_and_column():
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    first, _, _, last = dilated.phases(x, 2)[..., 0]
    np.testing.assert_array_equal(first, [[0, 2], [8, 10]])
    np.testing.assert_array_equal(last, [[5, 7], [0, 0]])
