"""Parts of a model: path prefixes, such as `head` or `trunk/stage4`, of what a phase trains.

One tuple of parts decides which parameters get a gradient and an optimizer, and which batch norms
run in train mode.
"""

import difflib
from collections.abc import Sequence
from typing import Any

Tree = dict[str, Any]


def covers(parts: Sequence[str], path: str) -> bool:
    """Returns whether `path`, joined by slashes, lies in one of the parts."""
    return any(path == part or path.startswith(part + "/") for part in parts)


def inside(parts: Sequence[str], name: str) -> tuple[str, ...]:
    """Returns the parts as seen from inside the child `name`; `("",)` means all of it."""
    if covers(parts, name) or "" in parts:
        return ("",)
    prefix = name + "/"
    return tuple(part.removeprefix(prefix) for part in parts if part.startswith(prefix))


def split(tree: Tree, parts: Sequence[str]) -> tuple[Tree, Tree]:
    """Splits nested dicts into the parts and the rest; `merge` joins them again."""
    chosen: Tree = {}
    rest: Tree = {}
    for name, child in tree.items():
        if covers(parts, name) or "" in parts:
            chosen[name] = child
        elif isinstance(child, dict) and inside(parts, name):
            chosen[name], rest[name] = split(child, inside(parts, name))
        else:
            rest[name] = child
    return chosen, rest


def merge(first: Tree, second: Tree) -> Tree:
    """Joins two nested dicts that share no leaf."""
    merged = dict(first)
    for name, child in second.items():
        merged[name] = merge(merged[name], child) if name in merged else child
    return merged


def check(known: Sequence[str], parts: Sequence[str]) -> None:
    """Raises ValueError, with a suggestion, if one of `parts` is not among the `known` ones."""
    if not parts:
        raise ValueError("phase.train=(): expected at least one part, such as ('head',)")
    for part in parts:
        if part not in known:
            close = difflib.get_close_matches(str(part), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise ValueError(f"phase.train names {part!r}; the model has no such part: {hint}")
