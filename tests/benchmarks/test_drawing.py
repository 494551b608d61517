import time

import pytest

from benchmarks import drawing


def spin(seconds):
    started = time.process_time()
    while time.process_time() - started < seconds:
        pass


def test_the_stopwatch_counts_calls_and_the_steps_of_generators():
    watch = drawing.Stopwatch()

    def steps():
        for step in range(3):
            spin(0.02)
            yield step

    timed = watch.timed("steps", steps)
    for _ in timed():
        spin(0.02)  # The caller's time does not count.
    assert 0.06 <= watch.time_s["steps"] < 0.11
    assert list(timed()) == [0, 1, 2]
    double = watch.timed("double", lambda number: 2 * number)
    assert double(4) == 8
    assert watch.time_s["double"] == pytest.approx(0, abs=0.01)
