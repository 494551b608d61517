"""Checkpoints: all of orbax. Every step holds two items, the variables and the optimizer."""

import os
import pathlib
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint.experimental.v1 as ocp

from psp_jax.state import TrainState, Variables

FOLDER = "checkpoints"  # Within a workdir.


class Store:
    """The checkpoints of a workdir; use it in a `with` block."""

    def __init__(self, workdir: str | pathlib.Path, *, keep: int):
        """Opens the store, clearing what an interrupted save has left.

        Args:
            workdir: folder of the run.
            keep: newest steps that are kept.
        """
        newest: Any = ocp.training.preservation_policies.LatestN(keep)
        self._checkpointer = ocp.training.Checkpointer(
            os.path.join(os.path.abspath(workdir), FOLDER),
            preservation_policy=newest,
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Store":
        """Returns the store itself."""
        return self

    def __exit__(self, *unused) -> None:
        """Closes the store."""
        self._checkpointer.close()

    def latest_step(self) -> int | None:
        """Returns the newest finished step, None before the first."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, state: TrainState) -> None:
        """Saves the state under its step, unless that step is there already."""
        step = int(state.step)
        if step == self.latest_step():
            return
        items = {"variables": state.variables, "optimizer": {"opt_state": state.opt_state}}
        self._checkpointer.save_checkpointables(step, items, force=True)

    def load_variables(self, step: int) -> Variables:
        """Restores the variables of a step, without a template, onto the first device."""
        return _load_variables(self._checkpointer, step)

    def load_optimizer(self, step: int, like: optax.OptState) -> optax.OptState:
        """Restores the optimizer of a step into the structure of `like`."""
        template = {"optimizer": {"opt_state": like}}
        return self._checkpointer.load_checkpointables(step, template)["optimizer"]["opt_state"]


def latest_step(workdir: str | pathlib.Path) -> int | None:
    """Returns the newest finished step of a workdir, None if there is none."""
    folder = os.path.join(os.path.abspath(workdir), FOLDER)
    if not os.path.isdir(folder):
        return None
    with ocp.training.Checkpointer(folder) as checkpointer:
        return None if checkpointer.latest is None else checkpointer.latest.step


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
    """Restores the newest variables of a workdir as nested dicts of NumPy arrays.

    Raises:
        FileNotFoundError: if the workdir holds no checkpoint.
    """
    step = require(workdir)
    folder = os.path.join(os.path.abspath(workdir), FOLDER)
    with ocp.training.Checkpointer(folder) as checkpointer:
        variables = _load_variables(checkpointer, step)
    return jax.tree.map(np.asarray, variables)


def _load_variables(checkpointer: ocp.training.Checkpointer, step: int) -> Variables:
    # The template says where to put the arrays; without it orbax asks for the devices of the run.
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    metadata = checkpointer.checkpointables_metadata(step).metadata["variables"]
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), metadata
    )
    return checkpointer.load_checkpointables(step, {"variables": template})["variables"]
