"""Finds the checkpoints of a workdir and their damage, and chooses the one to resume from."""

import pathlib
import re
from collections.abc import Callable

from psp_jax.io import files, manifest

FOLDER = "checkpoints"  # Within a workdir: a folder for each step.
UNUSED_FOLDER = "unused_checkpoints"  # Next to it; nothing in there is ever deleted.
ITEMS = ("variables", "optimizer")  # Folders within a step.
_OPTIMIZER_FILES = "optimizer/*"
_SHOWN = 3  # Files that a message names.


def steps_of(folder: pathlib.Path) -> list[int]:
    """Returns the steps in a folder of checkpoints, from the oldest to the newest.

    A numbered folder that holds nothing of a checkpoint is none.
    """
    paths = folder.iterdir() if folder.is_dir() else ()
    numbered = [path for path in paths if re.fullmatch("0|[1-9][0-9]*", path.name)]
    parts = (manifest.FILE, *ITEMS)
    return sorted(int(p.name) for p in numbered if any((p / name).exists() for name in parts))


def damage(folder: pathlib.Path, step: int, *, optimizer: bool) -> list[str]:
    """Describes the files of a step that are missing or changed.

    Args:
        folder: the folder of checkpoints.
        step: one of `steps_of`.
        optimizer: whether the optimizer state counts, too.
    """
    path = folder / str(step)
    before_digests = not any(
        (folder / str(each) / manifest.FILE).exists() for each in steps_of(folder)
    )
    if before_digests and all((path / item / "_METADATA").is_file() for item in ITEMS):
        print(f"{path} has no {manifest.FILE}, as before there were any: taken unverified")
        return []
    return manifest.damage(path, ignore="" if optimizer else _OPTIMIZER_FILES)


def choose(
    workdir: pathlib.Path, resume_from: int | None, needs_optimizer: Callable[[int], bool]
) -> int:
    """Returns the step to resume from, 0 for none; see `checkpoints.Store.choose`."""
    folder = workdir / FOLDER
    steps = steps_of(folder)
    if not steps and resume_from in (None, 0):
        return 0
    newest = steps[-1] if steps else 0
    lost = damage(folder, newest, optimizer=True) if steps else []
    needed = (
        lost if needs_optimizer(newest) or not lost else damage(folder, newest, optimizer=False)
    )
    if steps and not needed:
        if resume_from not in (None, newest):
            print(f"step {newest} is intact: resuming from it, not from {resume_from}")
        if lost:
            print(f"step {newest}: the optimizer is damaged, but not needed: {shorten(lost)}")
        else:
            name_strays(folder / str(newest))
        return newest
    if resume_from == 0:
        return 0
    if resume_from in steps:
        if not damage(folder, resume_from, optimizer=needs_optimizer(resume_from)):
            return resume_from
    raise OSError(_refusal(workdir, steps, newest if resume_from is None else resume_from))


def _refusal(workdir: pathlib.Path, steps: list[int], wanted: int | None) -> str:
    found = {step: damage(workdir / FOLDER, step, optimizer=True) for step in steps}
    every = [f"step {step}: {shorten(found[step]) or 'intact'}" for step in reversed(steps)]
    intact = [str(step) for step in steps if not found[step]]
    older = f"--resume_from={intact[-1]} to resume from an older step" if intact else ""
    return (
        f"{workdir} can't be resumed from step {wanted} "
        f"({'; '.join(every) or 'it holds no checkpoint'}). Restore the files from a backup, or "
        f"pass {older or '--resume_from=0 to start from scratch'}; the newer steps are then moved "
        f"to {UNUSED_FOLDER}"
    )


def set_aside(workdir: pathlib.Path, step: int) -> None:
    """Moves the steps after `step` to `unused_checkpoints` and prints that."""
    for newer in steps_of(workdir / FOLDER):
        if newer > step:
            target = files.unused(workdir / UNUSED_FOLDER / str(newer))
            target.parent.mkdir(exist_ok=True)
            (workdir / FOLDER / str(newer)).rename(target)
            print(f"step {newer} is not used and was moved to {target}")


def shorten(descriptions: list[str]) -> str:
    """Joins the first few descriptions and counts the others."""
    more = f" and {len(descriptions) - _SHOWN} more" if len(descriptions) > _SHOWN else ""
    return f"{', '.join(descriptions[:_SHOWN])}{more}"


def name_strays(folder: pathlib.Path) -> None:
    """Prints the files of an intact step that are not of the checkpoint."""
    if (folder / manifest.FILE).exists() and (strays := manifest.unlisted(folder)):
        print(f"{folder} holds files that are not of the checkpoint: {shorten(strays)}")
