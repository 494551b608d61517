"""The report as Markdown, as one HTML page that needs no other file, and inside a README."""

import base64
import dataclasses
import html
import pathlib
from collections.abc import Sequence

from psp_jax.report.comparison import SUB, Table
from psp_jax.report.runs import FINISHED, Run

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        title: what it shows.
        path: PNG file in the folder of the report.
        embedded: the same, smaller, as a JPEG or PNG.
        run: name of its run; empty for one of several.
    """

    title: str
    path: pathlib.Path
    embedded: bytes
    run: str = ""


def summary(found: Sequence[Run]) -> list[str]:
    """Counts the runs by status and names those that are not finished, a line each."""
    counts: dict[str, int] = {}
    for run in found:
        counts[run.status] = counts.get(run.status, 0) + 1
    counted = ", ".join(f"{count} {status}" for status, count in counts.items())
    first = f"{len(found)} {'workdir' if len(found) == 1 else 'workdirs'}: {counted}"
    return [first, *(f"{run.name} is {run.status}: {run.words}" for run in found if run.words)]


def markdown_tables(tables: Sequence[Table]) -> str:
    """Writes tables with their titles and notes."""
    blocks = []
    for table in tables:
        figures = len(table.columns) - table.text
        rows = [table.columns, ["---"] * table.text + ["---:"] * figures, *table.rows]
        lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
        blocks += [f"**{table.title}**", "\n".join(lines), " ".join(table.notes)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def markdown(
    found: Sequence[Run], tables: Sequence[Table], pictures: Sequence[Picture], words: Sequence[str]
) -> str:
    """Writes the report; `words` are what is wrong beside the runs' own states."""
    said = [*summary(found), *words]
    parts = [
        "# Experiments",
        "\n".join(f"- {_cell(line)}" for line in said),
        markdown_tables(tables),
    ]
    for picture in pictures:
        title = f"{picture.run}: {picture.title}" if picture.run else picture.title
        parts += [f"## {_cell(title)}", f"![{_cell(title)}]({picture.path.name})"]
    return "\n\n".join(parts) + "\n"


def insert(readme: str, tables: Sequence[Table], words: str) -> str:
    """Puts words and tables in the place of what is between the two markers of a README.

    Raises:
        ValueError: if it does not hold both, once, in order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after + before:
        raise ValueError(f"it has to hold {BEGIN} and, further down, {END}, each once")
    return f"{before}{BEGIN}\n{words}\n\n{markdown_tables(tables)}{END}{after}"


def page(
    found: Sequence[Run], tables: Sequence[Table], pictures: Sequence[Picture], words: Sequence[str]
) -> str:
    """Writes the report as HTML, pictures and style inside."""
    shared = [picture for picture in pictures if not picture.run]
    runs = [run for run in found if any(picture.run == run.name for picture in pictures)]
    links = [(f"table-{index}", table.title) for index, table in enumerate(tables)]
    links += [("curves", "Curves")] * bool(shared)
    links += [(f"run-{index}", run.name) for index, run in enumerate(runs)]
    nav = "".join(f'<a href="#{place}">{_safe(title)}</a>' for place, title in links)
    body = "".join(f"<li>{_safe(line)}</li>" for line in [*summary(found)[1:], *words])
    state = f"<p>{_safe(summary(found)[0])}</p>" + (f"<ul class=state>{body}</ul>" if body else "")
    sections = [_table(f"table-{index}", table) for index, table in enumerate(tables)]
    if shared:
        sections.append(f"<section id=curves><h2>Curves</h2>{_images(shared)}</section>")
    for index, run in enumerate(runs):
        own = [picture for picture in pictures if picture.run == run.name]
        about = f"{run.labels} labels" if run.predicts_frontiers else "depth"
        if run.status != FINISHED:
            about = f"{run.status}, {run.words}"
        sections.append(
            f"<section id=run-{index}><h2>{_safe(run.name)}</h2>"
            f"<p class=note>{_safe(about)}</p>{_images(own)}</section>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Experiments</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>Experiments</h1>{state}<nav>{nav}</nav></header>"
        f"<main>{''.join(sections)}</main></body></html>\n"
    )


def _table(place: str, table: Table) -> str:
    words = [" class=words" if index < table.text else "" for index in range(len(table.columns))]
    head = "".join(
        f"<th{kind}>{_safe(title)}</th>" for kind, title in zip(words, table.columns, strict=True)
    )
    rows, previous = [], ""
    for row in table.rows:
        # The name of a run stands once above its rows; what is no run's own is set back.
        name = "" if row[0] == previous else _safe(row[0].removeprefix(SUB))
        kind = ' class="sub"' if row[0].startswith(SUB) else "" if name else ' class="same"'
        cells = "".join(
            f"<td{kind}>{_safe(cell)}</td>" for kind, cell in zip(words[1:], row[1:], strict=True)
        )
        rows.append(f"<tr{kind}><th>{name}</th>{cells}</tr>")
        previous = row[0]
    notes = "".join(f"<p class=note>{_safe(note)}</p>" for note in table.notes)
    return (
        f"<section id={place}><h2>{_safe(table.title)}</h2><div class=wide><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{notes}</section>"
    )


def _images(pictures: Sequence[Picture]) -> str:
    figures = []
    for picture in pictures:
        kind = "png" if picture.embedded.startswith(b"\x89PNG") else "jpeg"
        code = base64.b64encode(picture.embedded).decode()
        title = _safe(picture.title)
        figures.append(
            f'<figure><img alt="{title}" src="data:image/{kind};base64,{code}">'
            f"<figcaption>{title}</figcaption></figure>"
        )
    return "".join(figures)


def _safe(text: str) -> str:
    return html.escape(text)


_STYLE = """
:root { color-scheme: light; --line: #d8dce2; --quiet: #5d6673; --tint: #f5f7fa; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: #1b2129; background: #fff; }
header, main { max-width: 1280px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
h1 { margin: 0; font-size: 26px; }
h2 { margin: 44px 0 10px; font-size: 19px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 10px 0; }
nav, thead th { border-bottom: 1px solid var(--line); }
a { color: #1f5fbf; text-decoration: none; }
a:hover { text-decoration: underline; }
.state { margin: 0 0 10px; padding: 10px 14px 10px 32px; background: #fff6e0; }
.note { margin: 6px 0 0; max-width: 90ch; color: var(--quiet); font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 4px 14px 4px 0; text-align: right; }
.words { text-align: left; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
thead th { font-size: 12px; font-weight: 600; color: var(--quiet); vertical-align: bottom; }
tbody th { font-weight: 600; }
tbody tr + tr:not(.same):not(.sub) > * { border-top: 1px solid var(--line); }
tr.sub > * { color: var(--quiet); font-weight: 400; }
tr.sub th { padding-left: 14px; }
tbody tr:hover > * { background: var(--tint); }
figure { margin: 14px 0 0; }
img { max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: 13px; }
"""
