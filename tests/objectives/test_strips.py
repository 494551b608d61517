from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from psp_jax.models import resampling
from psp_jax.objectives import bins, losses, strips

FUNCTIONS = {
    "hard cross-entropy": losses.cross_entropy,
    "soft cross-entropy": lambda z, y: losses.soft_cross_entropy(
        z, bins.soft_labels(y.astype(jnp.float32), z.shape[-1], sharpness=0.2)
    ),
    "ordinal": losses.ordinal,
    "expected value": lambda z, y: bins.expected_value(z, np.linspace(0, 1, z.shape[-1])) * y,
}


def make_output(size, channels, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(2, *size, channels)), dtype)


def make_labels(size, count):
    return np.random.default_rng(1).integers(0, count, (2, *size)).astype(np.uint8)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_losses_and_gradients_are_those_of_the_whole_resized_output(name):
    """At 45 rows in strips of 8, so that the last strip is not full."""
    function, size = FUNCTIONS[name], (45, 64)
    output, labels = make_output((6, 8), 16), make_labels(size, 16)

    def naive(output):
        return function(resampling.resize(output, size), labels)

    def in_strips(output):
        return strips.map_pixels(function, output, size, labels, rows=8)

    @jax.jit
    def both(output):
        values = naive(output), in_strips(output)
        gradients = [jax.grad(lambda x, f=f: f(x).mean())(output) for f in (naive, in_strips)]
        return values, gradients

    (values, values_in_strips), (expected, actual) = both(output)
    np.testing.assert_allclose(values_in_strips, values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(actual, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_likeliest_classes_are_those_of_the_whole_resized_output():
    size = (45, 64)
    output = make_output((6, 8), 16)
    expected = np.argmax(resampling.resize(output, size), -1)
    actual = strips.map_pixels(lambda z: jnp.argmax(z, -1), output, size, rows=8)
    assert (np.asarray(actual) != expected).mean() < 1e-3  # Ties that are rounded the other way.


@pytest.mark.parametrize("channels", [1, 16])
def test_an_output_at_the_size_of_the_image_is_only_split_into_strips(channels):
    size = (45, 64)
    output = make_output(size, channels)
    np.testing.assert_array_equal(strips.map_pixels(lambda z: z, output, size, rows=7), output)
    gradient = jax.grad(lambda x: strips.map_pixels(lambda z: z**2, x, size, rows=7).sum())(output)
    np.testing.assert_allclose(gradient, 2 * output, rtol=1e-6)


def test_losses_of_half_precision_outputs_are_computed_in_single_precision():
    size = (45, 64)
    output, labels = make_output((6, 8), 16, jnp.bfloat16), make_labels(size, 16)
    values = strips.map_pixels(losses.cross_entropy, output, size, labels)
    assert values.dtype == jnp.float32
    single = resampling.resize(output.astype(jnp.float32), size)
    np.testing.assert_allclose(values, losses.cross_entropy(single, labels), rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda x: strips.map_pixels(losses.cross_entropy, x, size, labels).sum())(
        output
    )
    assert gradient.dtype == jnp.bfloat16


def test_a_function_may_return_several_arrays_of_several_kinds():
    size = (45, 64)
    output, labels = make_output((6, 8), 16), make_labels(size, 16)
    values, decoded = strips.map_pixels(
        lambda z, y: (losses.cross_entropy(z, y), jnp.argmax(z, -1)), output, size, labels
    )
    assert values.shape == decoded.shape == (2, *size)
    assert values.dtype == jnp.float32 and decoded.dtype == jnp.int32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_256_outputs_at_full_resolution_need_a_twentieth_of_the_memory(name):
    """By XLA's own count, at 480x640; nothing is computed."""
    function, size = FUNCTIONS[name], (480, 640)
    output = jax.ShapeDtypeStruct((1, 60, 80, 256), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, *size), jnp.uint8)

    def memory(loss) -> int:
        compiled = jax.jit(jax.value_and_grad(loss)).lower(output, labels).compile()
        analysis: Any = compiled.memory_analysis()
        return analysis.temp_size_in_bytes

    naive = memory(lambda x, y: function(resampling.resize(x, size), y).mean())
    in_strips = memory(lambda x, y: strips.map_pixels(function, x, size, y).mean())
    assert in_strips < 0.05 * naive


def test_a_gpu_computes_at_once_what_fits(monkeypatch):
    output, size, rows = make_output((6, 8), 16), (45, 64), []

    def seen(strip):
        rows.append(strip.shape[1])
        return strip.sum(-1)

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    whole = strips.map_pixels(seen, output, size)
    monkeypatch.setattr(strips, "STRIP_BYTES", 2 * 64 * 16 * 4 * 25)  # 25 rows of the batch.
    np.testing.assert_allclose(strips.map_pixels(seen, output, size), whole, atol=1e-5)
    assert set(rows) == {45, 23}
