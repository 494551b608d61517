import pytest

from benchmarks import gpu

SMALL = gpu.Scale(layers=10, width=4, size=(24, 32), batch=1, repeats=1)


def test_a_case_is_timed_and_turned_into_a_rate():
    result = gpu.loss_alone(SMALL, strips=True)
    assert result["ms"] > 0 and result["compile_s"] > 0
    assert result["images_per_s"] == pytest.approx(1000 / result["ms"])


def test_a_convolution_is_measured_with_its_gradients():
    result = gpu.convolution(SMALL, dilation=1)
    forward = 2 * 3 * 4 * 9 * 32 * 32 / 1e9  # A product for each of 9 taps, with padding.
    assert 1.0 < result["gflop"] / forward < 3.5


def test_cases_of_pytorch_are_left_out_at_the_tiny_scale():
    names = list(gpu.cases(gpu.TINY))
    assert names[0].startswith("training step") and not any("PyTorch" in name for name in names)
