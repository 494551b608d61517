"""Runs the quick benchmarks and compares them with their bars: `python -m benchmarks`.

Each runs alone, in its own process and at its smallest setting; benchmarks/README.md has the
others. Prints one table; ends with status 1 if a bar is missed. Times need a quiet machine.
"""

import argparse
import dataclasses
import re
import subprocess
import sys
import time

import tabulate

from benchmarks import decoding
from psp_jax.io import command_line


@dataclasses.dataclass(frozen=True)
class Bar:
    """A limit of a measurement that a benchmark prints.

    Attributes:
        measures: what is measured, and its unit.
        pattern: regular expression whose group is the number; the worst of all matches counts.
        at_most: largest allowed value.
        at_least: smallest allowed value, in place of `at_most`.
    """

    measures: str
    pattern: str
    at_most: float | None = None
    at_least: float | None = None

    def judge(self, output: str) -> tuple[str, str, str, str]:
        """Returns what is measured, the value, the bar and the verdict for a printed output."""
        numbers = [float(number) for number in re.findall(self.pattern, output)]
        bar = (
            f"at most {self.at_most:g}"
            if self.at_most is not None
            else f"at least {self.at_least:g}"
        )
        if not numbers:
            return self.measures, "not printed", bar, "FAIL"
        worst = max(numbers) if self.at_most is not None else min(numbers)
        held = worst <= self.at_most if self.at_most is not None else worst >= (self.at_least or 0)
        return self.measures, f"{worst:.3g}", bar, "pass" if held else "FAIL"


@dataclasses.dataclass(frozen=True)
class Quick:
    """A benchmark at its smallest setting.

    Attributes:
        command: its module in `benchmarks` and its arguments.
        bars: what it has to reach, besides status 0.
        needs_captures: whether it reads captured depth frames, which not everybody has.
    """

    command: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    needs_captures: bool = False


EVERY = (
    Quick(
        ("strips",),
        (
            Bar("temporary memory of strips, % of the whole", r"MiB = ([\d.]+)%", at_most=5),
            Bar("time of strips / of the whole", r" s = ([\d.]+)", at_most=1.0),
            Bar("difference of gradients", r"differ by ([\d.e+-]+)", at_most=1e-5),
        ),
    ),
    Quick(
        ("reading", "--rounds=3"),
        (
            Bar("cached examples / s of a core", r"(\d+) per second of a core", at_least=5000),
            Bar("PNG / tensors, decoding time", r"augmentation ([\d.]+)", at_least=1.25),
            Bar("1 / share of a .sens file read at stride 30", r"1/([\d.]+) of", at_least=20),
        ),
    ),
    Quick(
        ("laptop",),
        (
            Bar("depth_mse, images trained / s", r"depth_mse: ([\d.]+)", at_least=45),
            Bar("frontier_edges, images trained / s", r"frontier_edges: ([\d.]+)", at_least=25),
        ),
    ),
    Quick(
        ("decoding", "--part=time", "--frames=2"),
        (
            Bar(
                "slowest decoding of 480x640, s",
                r"slowest frame: ([\d.]+)",
                at_most=decoding.MOST_S,
            ),
        ),
        needs_captures=True,
    ),
    Quick(
        ("scaling", "--steps=8", "--size", "48", "64"),
        (Bar("loss of 2 processes and of 1 apart", r"curves are ([\d.e+-]+)", at_most=1e-5),),
    ),
    Quick(("faults", "--faults=40")),
    Quick(("fuzz_coding", "--streams=500")),
)


def measure(quick: Quick) -> list[tuple[str, ...]]:
    """Runs a benchmark; returns its rows of the table."""
    name = quick.command[0]
    if quick.needs_captures and not decoding.DEFAULT_FOLDER.is_dir():
        return [(name, "", "", "", f"skipped: no captures in {decoding.DEFAULT_FOLDER}", "")]
    command = [sys.executable, "-m", f"benchmarks.{name}", *quick.command[1:]]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    time_s = f"{time.monotonic() - started:.0f}"
    if done.returncode:
        print(f"{' '.join(command[1:])}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return [(name, "exit status", str(done.returncode), "0", "FAIL", time_s)]
    rows = [bar.judge(done.stdout) for bar in quick.bars] or [("exit status", "0", "0", "pass")]
    return [(name, *row, time_s) for row in rows]


def main(arguments: argparse.Namespace) -> int:
    """Prints the table; returns 1 if a bar is missed."""
    known = [quick.command[0] for quick in EVERY]
    if unknown := set(arguments.names) - set(known):
        raise ValueError(f"expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    rows = []
    for quick in EVERY:
        if not arguments.names or quick.command[0] in arguments.names:
            print(f"{' '.join(quick.command)} ...", flush=True)
            measured = measure(quick)
            rows += measured
            print("".join(f"    {' '.join(filter(None, row[1:5]))}\n" for row in measured), end="")
    headers = ("benchmark", "measures", "value", "bar", "verdict", "s")
    print(tabulate.tabulate(rows, headers=headers, disable_numparse=True))
    return int(any(row[4] == "FAIL" for row in rows))


def _parser() -> command_line.Parser:
    parser = command_line.Parser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="which of the quick ones (all)")
    return parser


if __name__ == "__main__":
    command_line.run(main, _parser())
