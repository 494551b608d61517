"""A hook of mkdocs that shows the notebooks, with their outputs, as pages of the site."""

import json
import pathlib
import re
from typing import Any

from mkdocs.structure.files import File, Files

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"
PICTURES = ("image/jpeg", "image/png")


def on_files(files: Files, config: Any) -> Files:
    """Adds a page `notebooks/NAME.md` for every notebook."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        name = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, name, content=page_of(path.read_text("utf-8"))))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lets the pages of docs/ link to those of the notebooks, not to their files."""
    return re.sub(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", r"](notebooks/\1.md)", markdown)


def page_of(notebook: str) -> str:
    """Converts the JSON of a notebook to Markdown; pictures become data URLs."""
    blocks = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source.replace("(../docs/", "(../"))  # A page is one folder deeper.
        else:
            blocks.append(f"```python\n{source}\n```")
            blocks += filter(None, map(_output, cell["outputs"]))
    return "\n\n".join(blocks) + "\n"


def _output(output: dict[str, Any]) -> str:
    if "text" in output:
        text = re.sub(r"\x1b\[[0-9;]*m", "", "".join(output["text"])).rstrip()
        return f"```text\n{text}\n```"
    for kind in PICTURES:
        if kind in output.get("data", {}):
            data = "".join("".join(output["data"][kind]).split())
            return f"![Output of the cell above](data:{kind};base64,{data})"
    return ""
