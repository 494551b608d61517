import pytest

from benchmarks import given_rgb


def test_ratios_are_of_the_partition_the_frame_and_the_frame_with_residuals():
    parts = {"partition": 100.0, "given RGB": 60.0, "patches": 50.0, "holes": 30.0}
    frame = {"regions": 4.0, **parts, "residuals": 200.0, "header": 20.0}
    other = {name: 3 * bits for name, bits in frame.items()}
    row = given_rgb.row([frame, other])
    assert row[:6] == [8, 200, 120, 100, 60, 400]
    assert row[6:] == pytest.approx([1 - 40 / 100, 1 - 40 / 200, 1 - 40 / 400])
