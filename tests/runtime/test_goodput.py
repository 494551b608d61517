import json

import pytest

from psp_jax.runtime import goodput


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by hand."""
    now = [100.0]
    monkeypatch.setattr(goodput.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_every_second_has_one_activity_and_those_of_a_killed_session_are_lost(tmp_path, clock):
    first = goodput.Goodput(tmp_path)
    clock(1)
    with first.spend(goodput.STEP):
        clock(2)
        with first.spend(goodput.DATA):
            clock(4)
        first.saved()
        clock(8)
        with first.spend(goodput.DATA):
            clock(16)  # Long enough for the file to be written.
        content = (tmp_path / goodput.FILE).read_text()
        clock(32)
    (tmp_path / goodput.FILE).write_text(content)  # As if the process were killed before the end.
    second = goodput.Goodput(tmp_path)
    with second.spend(goodput.STEP):
        clock(64)
        with second.spend(goodput.SAVE):
            clock(128)
        second.saved()
    second.write()
    content = json.loads((tmp_path / goodput.FILE).read_text())
    seconds = {"init": 1, "step": 2 + 64, "data_wait": 4, "save": 128, "lost": 8 + 16}
    assert content == {
        "sessions": 2,
        "seconds": dict.fromkeys(goodput.ACTIVITIES, 0) | seconds,
        "unsaved": 0,
    }
    line, advice = second.lines()
    assert "config.data.cache" in advice and "config.data.threads" in advice
    assert line.startswith("goodput 30% of 223.0 s in 2 sessions: init 1.0, compile 0.0, data wait")


def test_long_waiting_for_data_is_reported(tmp_path, clock):
    spent = goodput.Goodput(tmp_path)
    for activity in (goodput.STEP, goodput.DATA):
        with spent.spend(activity):
            clock(3)
    spent.saved()
    assert spent.lines()[1].startswith("50% of the training was waiting for data")


@pytest.mark.parametrize("text", ["", "[]", '{"seconds": 3, "sessions": 1, "unsaved": 0}', "\0"])
def test_a_damaged_file_counts_as_empty(tmp_path, text):
    (tmp_path / goodput.FILE).write_text(text)
    assert goodput.Goodput(tmp_path).sessions == 1
