"""Compares runs in one report.

    python -m psp_jax.report runs/* --out=report

Writes tables of test metrics, next to the results of the thesis where it has them, curves of loss
and accuracy, and pictures of test images: report.md with PNG files, and report.html, one page that
holds everything. Unfinished, damaged and missing runs are listed and left out of the tables.
`--into=docs/results.md` also puts the tables between the two markers of that file.
"""

import argparse
import datetime
import pathlib
from collections.abc import Sequence

from psp_jax.evaluation.tables import TEST_FILE
from psp_jax.io import command_line, files, own_files
from psp_jax.report import comparison, page, pictures, runs

MARKDOWN_FILE, PAGE_FILE = "report.md", "report.html"


def write(all_runs: Sequence[runs.Run], out: pathlib.Path) -> page.Report:
    """Writes the report of runs into a folder and prints its summary."""
    own = own_files.OwnFiles(out)
    for name in (MARKDOWN_FILE, PAGE_FILE):
        own.path(name)  # Raises before anything is written.
    drawn, warnings = pictures.draw(all_runs, own)
    summary = [*runs.summary(all_runs), *warnings]
    report = page.Report(all_runs, summary, comparison.make(all_runs), drawn)
    own.write(MARKDOWN_FILE, page.markdown(report))
    own.write(PAGE_FILE, page.html(report))
    print(*report.summary, sep="\n")
    return report


def _origin(all_runs: Sequence[runs.Run]) -> str:
    """Describes the runs of the tables, with the dates of their tests."""
    finished = [run for run in all_runs if run.status == runs.FINISHED]
    times = sorted((run.folder / TEST_FILE).stat().st_mtime for run in finished)
    days = [datetime.date.fromtimestamp(time).isoformat() for time in times]
    tested = f", tested {' to '.join(dict.fromkeys([days[0], days[-1]]))}" if days else ""
    others = "".join(f"; {line}" for line in runs.summary(all_runs)[1:])
    return f"Written by `python -m psp_jax.report`: {len(finished)} finished runs{tested}{others}."


def main(arguments: argparse.Namespace) -> int:
    """Reports the runs of the command line; returns 1 if one can't be read, or none is finished."""
    all_runs = runs.read(arguments.workdirs)
    if arguments.into is not None:
        _insert(arguments.into, (), "")  # Raises before anything is written.
    report = write(all_runs, arguments.out)
    if arguments.into is not None:
        files.write(arguments.into, _insert(arguments.into, report.tables, _origin(all_runs)))
    print(f"wrote {arguments.out / MARKDOWN_FILE} and {arguments.out / PAGE_FILE}")
    statuses = {run.status for run in all_runs}
    return int(runs.FINISHED not in statuses or bool(statuses & {runs.DAMAGED, runs.MISSING}))


def _insert(path: pathlib.Path, tables: Sequence[comparison.Table], origin: str) -> str:
    try:
        return page.insert(path.read_text(encoding="utf-8"), tables, origin)
    except ValueError as error:
        raise ValueError(f"--into={path}: {error}") from None


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.report", description=__doc__)
    parser.add_argument(
        "workdirs", nargs="+", type=command_line.path, metavar="WORKDIR", help="folder of a run"
    )
    parser.add_argument(
        "--out",
        type=command_line.path,
        default="report",
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument(
        "--into",
        type=command_line.path,
        help="Markdown file; the text between `<!-- report:begin -->` and `<!-- report:end -->` is "
        "replaced",
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, parser())
