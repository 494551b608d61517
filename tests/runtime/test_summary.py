from psp_jax.runtime import summary


def test_a_step_that_does_not_fit_comes_with_the_batch_that_would():
    words = summary.advice(24 * 2**30, 12 * 2**30, 8, 1)
    assert "12,288 MiB" in words and "batch_size=4 with accumulate=2 " in words
    assert "remat=" in words and "smaller images" in words
    # Of the 4 images that would fit, 3 divide 6.
    assert "batch_size=3 with accumulate=4 " in summary.advice(18 * 2**30, 12 * 2**30, 6, 2)
    assert "batch_size" not in summary.advice(24 * 2**30, 12 * 2**30, 1, 1)


def test_a_processor_may_take_the_memory_of_the_machine():
    with open("/proc/meminfo") as file:
        kibibytes = int(file.readline().split()[1])
    assert summary.device_bytes() == kibibytes * 1024
