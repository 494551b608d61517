"""Renders the report as Markdown, as one HTML page that needs no other file, and into a file."""

import base64
import re
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
import tabulate

from psp_jax.report import runs
from psp_jax.report.comparison import SUB, Table
from psp_jax.report.pictures import Picture
from psp_jax.report.runs import Run

BEGIN, END = "<!-- report:begin -->", "<!-- report:end -->"


class Report(NamedTuple):
    """Content of the report.

    Attributes:
        runs: all runs, whatever their status.
        summary: counts of the runs, then a line for everything that is left out.
        tables: tables of the finished runs.
        pictures: pictures, each of one run or of several.
    """

    runs: Sequence[Run]
    summary: Sequence[str]
    tables: Sequence[Table]
    pictures: Sequence[Picture]


def markdown_tables(tables: Sequence[Table]) -> str:
    """Formats tables with their titles and notes as Markdown."""
    blocks = []
    for table in tables:
        numbers = len(table.columns) - table.text_columns
        text = tabulate.tabulate(
            [[_escaped(cell) for cell in row] for row in table.rows],
            [_escaped(title) for title in table.columns],
            tablefmt="pipe",
            colalign=("left",) * table.text_columns + ("right",) * numbers,
            disable_numparse=True,
        )
        text = re.sub(" {2,}", " ", text)  # So that one changed cell changes one line.
        blocks += [f"**{table.title}**", text, table.note]
    return "\n\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def markdown(report: Report) -> str:
    """Formats the report as Markdown, which shows the PNG files next to it."""
    parts = [
        "# Experiments",
        "\n".join(f"- {_escaped(line)}" for line in report.summary),
        markdown_tables(report.tables),
    ]
    for picture in report.pictures:
        title = _escaped(f"{picture.run}: {picture.title}" if picture.run else picture.title)
        parts += [f"## {title}", f"![{title}]({picture.path.name})"]
    return "\n\n".join(parts) + "\n"


def insert(text: str, tables: Sequence[Table], origin: str) -> str:
    """Replaces what is between the two markers of a text by a line on the origin and tables.

    Raises:
        ValueError: if the text does not hold both markers, once, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after + before:
        raise ValueError(f"expected {BEGIN} and, below it, {END}, each once")
    return f"{before}{BEGIN}\n{origin}\n\n{markdown_tables(tables)}{END}{after}"


def html(report: Report) -> str:
    """Renders the report as HTML with pictures and style inside."""
    loader = jinja2.PackageLoader("psp_jax.report", package_path="")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(
        summary=report.summary,
        tables=report.tables,
        shared=[picture for picture in report.pictures if not picture.run],
        runs=[
            (run, pictures)
            for run in report.runs
            if (pictures := [picture for picture in report.pictures if picture.run == run.name])
        ],
        finished=runs.FINISHED,
        sub=SUB,
        data_url=_data_url,
    )


def _data_url(data: bytes) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
