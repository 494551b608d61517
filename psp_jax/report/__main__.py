"""Puts runs side by side.

    python -m psp_jax.report runs/* --out=report

writes tables of their test figures, beside the thesis's where it has them, curves of loss and
accuracy and the sheets of test pictures: report.md with its PNG files, and report.html, one page
that holds everything. Runs that are not finished, damaged or not there are named and left out of
the tables. `--readme=README.md` also puts the tables between that file's two markers.
"""

import datetime
import pathlib
import sys
from collections.abc import Sequence

from psp_jax.evaluation import plots
from psp_jax.io import command_line
from psp_jax.report import comparison, page, runs
from psp_jax.report.page import Picture
from psp_jax.report.runs import Run

MARKDOWN_FILE, PAGE_FILE = "report.md", "report.html"
# Figure of the validation split, its title, and the level it is compared with, if there is one.
ACCURACY = ("validation_accuracy", "accuracy", "validation_interior_share", "always interior")
SHOWN = (
    ACCURACY,
    ("validation_rmse_m", "RMSE, m", "", ""),
    ("validation_edge_bits", "bits/edge", "validation_edge_bits_prior", "by share alone"),
)


def write(found: Sequence[Run], out: pathlib.Path) -> list[comparison.Table]:
    """Writes the report of runs into a folder and returns its tables."""
    out.mkdir(parents=True, exist_ok=True)
    made = comparison.make(found)
    drawn, words = _compared(found, out), []
    for run in found:
        stem = _file_name(run.name)
        drawn += _curves(run, out / f"{stem}_curves.png")
        for sheet in runs.SHEETS if run.status == runs.FINISHED else ():
            if not (run.folder / sheet).exists():
                continue
            path = out / f"{stem}_{sheet}"
            try:
                embedded = plots.smaller(run.folder / sheet)
                path.write_bytes((run.folder / sheet).read_bytes())
            except ValueError as error:
                words.append(f"{run.name}: a sheet is left out: {error}")
            else:
                drawn.append(Picture("test images", path, embedded, run.name))
    (out / MARKDOWN_FILE).write_text(page.markdown(found, made, drawn, words))
    (out / PAGE_FILE).write_text(page.page(found, made, drawn, words))
    print("\n".join([*page.summary(found), *words]))
    return made


def _series(run: Run, key: str) -> tuple[list[float], list[float]]:
    """A figure over the epochs that have it."""
    records = [record for record in run.records if key in record]
    epochs = [record.get("epoch", record["step"]) for record in records]
    return epochs, [record[key] for record in records]


def _curves(run: Run, path: pathlib.Path) -> list[Picture]:
    """Draws accuracy and loss of a run (thesis, figures 4.1 to 4.3)."""
    losses = {
        label: _series(run, key)
        for label, key in (("training", "train_loss"), ("validation", "validation_loss"))
    }
    if not any(xs for xs, _ in losses.values()):
        return []
    shown = [plots.Panel("loss", losses)]
    for key, title, level_key, level in SHOWN:
        series, levels = _series(run, key), _series(run, level_key)[1]
        if series[0]:
            beside = {level: levels[-1]} if levels else {}
            panel = plots.Panel(title, {"validation": series}, beside, from_zero=not beside)
            shown.insert(0, panel)
            break
    plots.panels(path, shown, across="epoch")
    return [Picture("curves", path, path.read_bytes(), run.name)]


def _compared(found: Sequence[Run], out: pathlib.Path) -> list[Picture]:
    """Draws each figure of all the runs that have it, label set by label set where those matter."""
    drawn = []
    for key, title, level_key, level in SHOWN:
        having = [run for run in found if _series(run, key)[0]]
        for labels in sorted({run.labels if level else "" for run in having}):
            chosen = [run for run in having if labels in ("", run.labels)]
            if len(chosen) < 2:
                continue
            lines = {run.name: _series(run, key) for run in chosen}
            ends = _series(chosen[0], level_key)[1]
            levels = {level: ends[-1]} if ends else {}
            panel = plots.Panel(title, lines, levels, from_zero=not level)
            name = "_".join(
                word for word in ("compared", key.removeprefix("validation_"), labels) if word
            )
            path = out / f"{_file_name(name)}.png"
            plots.panels(path, [panel], across="epoch")
            about = f"validation {title}" + (f", {labels} labels" if labels else "")
            drawn.append(Picture(about, path, path.read_bytes()))
    return drawn


def _origin(found: Sequence[Run]) -> str:
    """Says which runs the tables are of, and when they were tested."""
    finished = [run for run in found if run.status == runs.FINISHED]
    times = [(run.folder / runs.TEST_FILE).stat().st_mtime for run in finished]
    days = sorted({datetime.date.fromtimestamp(time).isoformat() for time in times})
    when = f", tested {' to '.join(dict.fromkeys([days[0], days[-1]]))}" if days else ""
    left = "".join(f"; {line}" for line in page.summary(found)[1:])
    return f"Written by `python -m psp_jax.report`: {len(finished)} finished runs{when}{left}."


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def main() -> None:
    """Reports the runs of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.report", description=__doc__)
    parser.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="folder of a run")
    parser.add_argument("--out", type=pathlib.Path, default="report", help="folder to write into")
    parser.add_argument("--readme", type=pathlib.Path, help="Markdown file with the two markers")
    arguments = parser.parse_args()
    found = runs.read(arguments.workdirs)
    try:
        made = write(found, arguments.out)
        if arguments.readme is not None:
            try:
                text = page.insert(arguments.readme.read_text(), made, _origin(found))
            except ValueError as error:
                raise ValueError(f"--readme={arguments.readme}: {error}") from None
            arguments.readme.write_text(text)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{arguments.out / MARKDOWN_FILE} and {arguments.out / PAGE_FILE} are written")
    if not any(run.status == runs.FINISHED for run in found):
        sys.exit(1)  # There is nothing to compare.


if __name__ == "__main__":
    main()
