import argparse
import pathlib

import pytest

from benchmarks import __main__ as quick

MEMORY = quick.Bar("memory, %", r"MiB = ([\d.]+)%", at_most=5)
RATE = quick.Bar("rate", r"(\d+) per second", at_least=100)


def test_the_worst_of_all_numbers_counts():
    assert MEMORY.judge("a 3 MiB = 2.5%\nb 9 MiB = 4.5%") == (
        "memory, %",
        "4.5",
        "at most 5",
        "pass",
    )
    assert MEMORY.judge("a 3 MiB = 2.5%\nb 9 MiB = 5.5%")[-1] == "FAIL"
    assert RATE.judge("300 per second, 100 per second") == ("rate", "100", "at least 100", "pass")
    assert RATE.judge("300 per second, 99 per second")[-1] == "FAIL"


def test_a_number_that_is_not_printed_fails():
    assert MEMORY.judge("MiB = unknown%")[1:] == ("not printed", "at most 5", "FAIL")


def test_a_missed_bar_ends_with_status_1(monkeypatch, capsys):
    rows = {"strips": "pass", "faults": "FAIL"}
    monkeypatch.setattr(
        quick, "measure", lambda each: [(*each.command[:1], "", "", "", rows[each.command[0]], "")]
    )
    assert quick.main(argparse.Namespace(names=["strips"])) == 0
    assert quick.main(argparse.Namespace(names=["strips", "faults"])) == 1
    assert "FAIL" in capsys.readouterr().out
    with pytest.raises(ValueError, match="nothing"):
        quick.main(argparse.Namespace(names=["nothing"]))


def test_the_page_lists_every_benchmark():
    folder = pathlib.Path(quick.__file__).parent
    page = (folder / "README.md").read_text()
    parts = {
        "__main__",
        "damage",
        "pytorch_pspnet",
        "random_trees",
        "timing",
    }  # Of other benchmarks.
    names = {path.stem for path in folder.glob("*.py")} - parts
    assert not [name for name in sorted(names) if f"`{name}`" not in page]
