"""Help for the fields of a config, and suggestions for names that do not exist."""

import difflib
import pathlib
import textwrap
from typing import Any

from psp_jax.io import dataclass_fields

WIDTH = 100
SIMILAR = 0.6  # Least similarity of a suggestion, difflib's default.


def config_help(config: Any) -> str:
    """Lists all fields of a config with type, value and documentation."""
    blocks = [f"Fields of {config.name}, set by --FIELD=VALUE:"]
    for field in dataclass_fields.fields(config, "config"):
        head = f"--{field.name} ({field.kind}; {field.value})"
        text = textwrap.fill(field.description, WIDTH - 6)
        blocks.append(f"  {textwrap.shorten(head, WIDTH - 2)}")
        blocks.append(textwrap.indent(text, " " * 6))
    return "\n".join(filter(None, blocks))


def suggestion(name: str, config: Any, *, similarity: float = SIMILAR) -> str | None:
    """Returns the flag of a config's field that a wrong name may mean; None if none is similar.

    Args:
        name: such as `batch_size` or `config.lr`: the last part counts, or its initials.
        config: the config.
        similarity: least similarity of a suggestion, as difflib computes it; 1 for equal names.
    """
    known = [field.name for field in dataclass_fields.fields(config, "config")]
    leaves = [path.rpartition(".")[2] for path in known]
    leaf = name.rpartition(".")[2]
    for path, other in zip(known, leaves, strict=True):
        if leaf == other or leaf == "".join(word[:1] for word in other.split("_")):
            return f"--{path}"
    near = difflib.get_close_matches(leaf, leaves, n=1, cutoff=similarity)
    return f"--{known[leaves.index(near[0])]}" if near else None


def near_files(path: str) -> list[str]:
    """Returns up to three Python files that a wrong path may mean, the nearest first."""
    wrong = pathlib.Path(path)
    folders = dict.fromkeys((wrong.parent, pathlib.Path("configs")))
    found = {file.stem: str(file) for folder in folders for file in sorted(folder.glob("*.py"))}
    near = difflib.get_close_matches(wrong.stem, found, n=3, cutoff=SIMILAR)
    return [found[stem] for stem in near]
