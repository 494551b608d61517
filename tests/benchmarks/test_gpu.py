import pytest

from benchmarks import gpu

SMALL = gpu.Scale(layers=10, width=4, size=(24, 32), batch=1, repeats=1)


def measured(case):
    return gpu.measure(case, *case.compile())


def test_a_case_is_timed_and_turned_into_a_rate():
    result = measured(gpu.loss_alone(SMALL, strips=True))
    assert result["ms"] > 0 and result["compile_s"] > 0
    assert result["images_per_s"] == pytest.approx(1000 / result["ms"])


def test_a_training_step_takes_the_state_of_the_one_before():
    case = gpu.training_step(SMALL, count=2, train=gpu.HEAD)
    program, _ = case.compile()
    step = case.call(program)
    losses = [float(step()["loss"]) for _ in range(3)]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_convolution_is_measured_with_its_gradients(dilation):
    result = measured(gpu.convolution(SMALL, dilation=dilation))
    forward = 2 * 3 * 4 * 9 * 32 * 32 / 1e9  # A product for each of 9 taps, with padding.
    assert result["gflop"] / forward == pytest.approx(3, rel=0.4)


def test_cases_of_pytorch_are_left_out_at_the_tiny_scale():
    names = list(gpu.cases(gpu.TINY))
    assert names[0].startswith("training step") and not any("PyTorch" in name for name in names)
