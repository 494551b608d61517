"""Saves and restores checkpoints. Every step holds two items: variables and optimizer state.

A step appears by the rename of a folder that holds everything, the digests of its files included.
Nothing is restored whose digests differ. Files that other programs leave in a step are ignored.
"""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint.experimental.v1 as ocp

from psp_jax import experiment
from psp_jax.io import files, manifest
from psp_jax.metrics import directions
from psp_jax.runtime import metric_log, processes, saved_steps
from psp_jax.runtime.mesh import Mesh
from psp_jax.state import TrainState, Variables

ENVIRONMENT_FILE = "environment.json"  # Within a step: where its numbers were computed.
FOLDER = saved_steps.FOLDER
_PARTIAL = ".partial-"  # Folders that begin so are being written or deleted.


class Store:
    """The checkpoints of a workdir.

    Where a run has several processes, all of them open, save and load together.
    """

    def __init__(self, workdir: str | pathlib.Path, *, keep: int, mesh: Mesh | None = None):
        """Opens the store and removes the remains of an interrupted save.

        Args:
            workdir: folder of the run.
            keep: newest steps that are kept.
            mesh: the devices that hold states; None for all.

        Raises:
            OSError: if the name of the workdir is not UTF-8, as orbax needs it.
        """
        files.utf8_path(workdir, "workdir")
        self._workdir, self._keep = pathlib.Path(os.path.abspath(workdir)), keep
        self._folder = self._workdir / FOLDER
        self._mesh = mesh or Mesh()
        processes.broadcast_from_primary(self._tidy)

    def _tidy(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Unfinished saves: ours, and folders of orbax, whose names may begin like ours.
        for pattern in (f"{_PARTIAL}*", "*.orbax-check*-tmp*"):
            for path in self._folder.glob(pattern):
                shutil.rmtree(path)

    def __enter__(self) -> "Store":
        """Returns the store itself."""
        return self

    def __exit__(self, *unused) -> None:
        """Leaves the store; every save is finished when it returns."""

    def latest_step(self) -> int | None:
        """Returns the newest finished step, None before the first."""
        return max(saved_steps.steps_of(self._folder), default=None)

    def choose(
        self, resume_from: int | None = None, *, needs_optimizer: Callable[[int], bool]
    ) -> int:
        """Returns the step that a run resumes from, 0 for none, and changes nothing.

        That is the newest step if it is intact.

        Args:
            resume_from: an older step to resume from if the newest is damaged; 0 to start from
                scratch then.
            needs_optimizer: returns whether the optimizer of a step is needed, too. Otherwise its
                damage is only printed.

        Raises:
            OSError: if the step can't be used. All steps and their damage are listed.
        """

        given = (self._workdir, resume_from, needs_optimizer)
        return processes.broadcast_from_primary(functools.partial(saved_steps.choose, *given))

    def set_aside(self, step: int) -> None:
        """Moves the steps after `step` to `unused_checkpoints` in the workdir."""
        action = functools.partial(saved_steps.set_aside, self._workdir, step)
        processes.broadcast_from_primary(action)

    def is_intact(self, step: int) -> bool:
        """Returns whether the variables of a step can be loaded."""

        def check() -> bool:
            is_there = step in saved_steps.steps_of(self._folder)
            return is_there and not saved_steps.damage(self._folder, step, optimizer=False)

        return processes.broadcast_from_primary(check)

    def save(
        self, state: TrainState, best_at: Callable[[int], int | None] = lambda step: None
    ) -> None:
        """Saves the state under its step, unless that step is there already.

        Args:
            state: the state.
            best_at: returns the best step up to a given one, which is kept with it.

        Raises:
            OSError: if it can't be saved; the steps before are as they were.
        """
        step = int(state.step)
        if step == processes.broadcast_from_primary(self.latest_step):
            return
        partial = self._folder / f"{_PARTIAL}{step}"
        items = {"variables": state.variables, "optimizer": {"opt_state": state.opt_state}}
        try:
            ocp.save_checkpointables(str(partial), items)
            processes.broadcast_from_primary(functools.partial(self._finish, partial, step))
        except Exception as error:  # Those of orbax and its storage have no common type.
            before = self.latest_step()
            self._sweep()
            raise OSError(
                f"step {step} could not be saved in {self._folder}: {_reason(error)}. "
                + ("Nothing was saved before" if before is None else f"Step {before} is intact")
                + "; free space or give permission, then run the same command to resume"
            ) from error
        processes.broadcast_from_primary(functools.partial(self._forget, best_at))

    def _finish(self, partial: pathlib.Path, step: int) -> None:
        files.write(partial / ENVIRONMENT_FILE, json.dumps(environment()) + "\n")
        manifest.write(partial)
        partial.rename(self._folder / str(step))
        _sync(self._folder)

    def _sweep(self) -> None:
        """Removes steps half written, for a second: a writer can outlive the error of another."""
        for _ in range(10):
            for path in self._folder.glob(f"{_PARTIAL}*"):
                shutil.rmtree(path, ignore_errors=True)
            time.sleep(0.1)

    def _forget(self, best_at: Callable[[int], int | None]) -> None:
        steps = saved_steps.steps_of(self._folder)
        needed = {best_at(step) for step in steps[-self._keep :]}
        for old in steps[: -self._keep]:
            if old in needed:
                continue
            path, gone = self._folder / str(old), self._folder / f"{_PARTIAL}{old}"
            path.rename(gone)  # A partly deleted step must not look like one.
            with contextlib.suppress(OSError, ValueError):  # The next start removes it.
                manifest.remove(gone)
                if gone.exists():  # Files that are not ours.
                    gone.rename(path)

    def load_variables(self, step: int, like: Variables | None = None) -> Variables:
        """Restores the variables of a step onto the devices.

        Args:
            step: a finished step.
            like: arrays or their shapes that the step has to agree with; None takes any.

        Raises:
            ValueError: if it does not; the paths that differ are listed.
        """
        folder = self._folder / str(step)
        if like is not None:
            _check_like(folder, "variables", like)
        return _load_variables(folder, self._mesh.shardings(_metadata(folder, "variables")))

    def load_optimizer(self, step: int, like: optax.OptState) -> optax.OptState:
        """Restores the optimizer of a step into the structure of `like`.

        Raises:
            ValueError: if its arrays differ in path, shape or type; the paths are listed.
        """
        folder, template = self._folder / str(step), {"opt_state": like}
        _check_like(folder, "optimizer", template)
        return ocp.load_checkpointables(str(folder), {"optimizer": template})["optimizer"][
            "opt_state"
        ]

    def changes(self, step: int) -> list[str]:
        """Lists, `name: there -> here`, the differences that keep resuming from being bit-exact."""
        path = self._folder / str(step) / ENVIRONMENT_FILE
        there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        here = environment()
        return [
            f"{name}: {there[name]} -> {here[name]}" for name in there if there[name] != here[name]
        ]


def environment() -> dict[str, Any]:
    """Returns the environment on which the last bit of a result depends."""
    return {
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
    }


def latest_step(workdir: str | pathlib.Path) -> int | None:
    """Returns the newest finished step of a workdir, None if there is none."""
    return max(saved_steps.steps_of(files.local_path(workdir).absolute() / FOLDER), default=None)


def require(workdir: str | pathlib.Path) -> int:
    """Returns the newest finished step of a workdir.

    Raises:
        FileNotFoundError: if it holds no finished checkpoint.
    """
    step = latest_step(workdir)
    if step is None:
        raise FileNotFoundError(f"{workdir} holds no checkpoint: no finished one in {FOLDER}/")
    return step


def load_variables(workdir: str | pathlib.Path) -> Variables:
    """Restores the variables of the best intact checkpoint; see `load_best`."""
    return load_best(workdir)[1]


def load_best(workdir: str | pathlib.Path) -> tuple[int, Variables]:
    """Restores the best intact checkpoint of a workdir: its step, nested dicts of NumPy arrays.

    That is the best of the validated steps that are saved, by the metric of the config; the newest
    if it is damaged, or if there are none. The workdir is left as it is: a damaged step is skipped
    and printed. Only the variables of a step have to be intact.

    Raises:
        FileNotFoundError: if the workdir holds no checkpoint.
        OSError: if none of them is intact.
    """
    workdir = files.utf8_path(workdir, "workdir")
    require(workdir)
    parent = pathlib.Path(os.path.abspath(workdir)) / FOLDER
    for step in _best_first(pathlib.Path(workdir), saved_steps.steps_of(parent)):
        if not (damage := saved_steps.damage(parent, step, optimizer=False)):
            break
        print(
            f"checkpoint {step} of {workdir} is damaged and skipped: {saved_steps.shorten(damage)}"
        )
    else:
        damaged = ", ".join(map(str, saved_steps.steps_of(parent)))
        raise OSError(f"{workdir} holds no intact checkpoint: {damaged} damaged")
    folder = parent / str(step)
    saved_steps.name_strays(folder)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _alone():
        shardings = jax.tree.map(lambda _: device, _metadata(folder, "variables"))
        return step, jax.tree.map(np.asarray, _load_variables(folder, shardings))


def _best_first(workdir: pathlib.Path, steps: list[int]) -> list[int]:
    """Orders saved steps: the best, then from the newest."""
    newest_first = sorted(steps, reverse=True)
    if not (workdir / experiment.CONFIG_FILE).exists():
        return newest_first
    log = metric_log.read(workdir)
    saved = [record for record in log if record["step"] in steps]
    best = directions.best_step(saved, experiment.load(workdir).best_metric)
    if best is None or best == newest_first[0]:
        return newest_first
    print(f"step {best} of {workdir} is used: the best validated one, not the newest")
    return [best, *(step for step in newest_first if step != best)]


def _load_variables(folder: pathlib.Path, shardings: Any) -> Variables:
    # The template says where to put the arrays; without it orbax asks for the devices of the run.
    template = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        _metadata(folder, "variables"),
        shardings,
    )
    return ocp.load_checkpointables(str(folder), {"variables": template})["variables"]


def _alone() -> contextlib.AbstractContextManager:
    """Lets this process read without the others of its run."""
    if jax.process_count() == 1:
        return contextlib.nullcontext()
    index = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})
    return ocp.Context(multiprocessing_options=alone)


def _metadata(folder: pathlib.Path, item: str) -> Any:
    return ocp.metadata(str(folder), item).metadata  # The other item may be damaged.


def _check_like(folder: pathlib.Path, item: str, like: Any) -> None:
    """Compares before orbax restores, which casts to the template's types without a word."""
    there, here = (
        {_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}
        for leaves in map(jax.tree.leaves_with_path, (_metadata(folder, item), like))
    )
    names = sorted(there.keys() | here.keys())
    differ = [
        f"{name}: {there.get(name, 'none')} there, {here.get(name, 'none')} here"
        for name in names
        if there.get(name) != here.get(name)
    ]
    if differ:
        raise ValueError(
            f"the {item} in {folder} differ from this program's in {len(differ)} of {len(names)} "
            f"arrays, so they come from another version of it: {'; '.join(differ)}"
        )


def _name(path: tuple) -> str:
    """Joins the keys of a path; orbax turns the fields of a named tuple into keys of a dict."""
    return "/".join(jax.tree_util.keystr((key,), simple=True) for key in path)


def _sync(folder: pathlib.Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
