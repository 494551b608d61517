"""Steps whose loss, gradient or batch norm statistics are not finite.

Nothing waits for the device to detect them. The step itself, on the device, keeps its input state
where something is not finite (`steps.train_step`), so that no bad state exists from which training
could continue or that could be saved. The host reads a step's metrics only when `LAG_STEPS` later
steps have been dispatched, and before it evaluates, saves or ends, when it has to wait anyway.
Steps dispatched after a bad one start from the good state before it. A run with the same seed meets
the same bad steps and decides the same, so that resuming stays bit-exact.
"""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.state import TrainState

LAG_STEPS = 1  # One dispatched step keeps the device busy; more would hold memory.


class Monitor:
    """Reads the metrics of steps, late, and counts those that were skipped.

    Attributes:
        losses: of the good steps that were read since the last `take_losses`.
        gradient_norm: of the newest good step that was read.
        skipped: bad steps of the phase so far.
    """

    def __init__(self, *, skipped: int):
        """Starts a phase, or resumes it after `skipped` bad steps."""
        self.losses: list[float] = []
        self.gradient_norm = float("nan")
        self.skipped = skipped
        self._terms: list[dict[str, float]] = []
        self._pending: collections.deque[tuple[int, dict[str, Any]]] = collections.deque()

    def add(self, step: int, metrics: dict[str, Any]) -> list[tuple[int, str]]:
        """Takes the metrics of a dispatched step and reads those of earlier ones.

        Returns:
            Number and description of every bad step among those that were read.
        """
        self._pending.append((step, metrics))
        return self._read(LAG_STEPS)

    def drain(self) -> list[tuple[int, str]]:
        """Waits for all steps so far; returns what `add` does."""
        return self._read(0)

    def take_losses(self) -> dict[str, float]:
        """Returns the mean losses of the good steps since the last call, and forgets them.

        Returns:
            The mean `loss`, NaN without such a step, and that of every term as `loss/TERM`.
        """
        losses, terms, self.losses, self._terms = self.losses, self._terms, [], []
        if not losses:
            return {"loss": float("nan")}
        names = terms[0]  # All steps of a phase have the same terms.
        means = {f"loss/{name}": float(np.mean([each[name] for each in terms])) for name in names}
        return {"loss": float(np.mean(losses)), **means}

    def _read(self, pending: int) -> list[tuple[int, str]]:
        bad = []
        while len(self._pending) > pending:
            step, metrics = self._pending.popleft()
            metrics = jax.device_get(metrics)
            if metrics["finite"]:
                self.losses.append(float(metrics["loss"]))
                self._terms.append({name: float(x) for name, x in metrics["terms"].items()})
                self.gradient_norm = float(metrics["gradient_norm"])
            else:
                self.skipped += 1
                bad.append((step, _describe(metrics)))
        return bad


def check(state: TrainState, step: int) -> None:
    """Raises FloatingPointError unless all of a state is finite; call it before saving.

    An update can overflow with a finite gradient, which only the next step would detect.
    """
    if not bool(_all_finite((state.params, state.batch_stats, state.opt_state))):
        raise FloatingPointError(
            f"the state after step {step} is not finite, though its gradient was, and is not "
            "saved; try a smaller learning rate"
        )


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _describe(metrics: dict[str, Any]) -> str:
    """Names what of a step is not finite, down to the terms of its loss."""
    loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
    terms = {name: float(value) for name, value in metrics["terms"].items()}
    if not np.isfinite(loss):
        bad = [f"{name} {value}" for name, value in terms.items() if not np.isfinite(value)]
        of_terms = f" (its terms {', '.join(bad)})" if bad else ""
        return f"loss is {loss}{of_terms}"
    if not np.isfinite(norm):
        every = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        return f"gradient_norm is {norm}, with loss {loss:.4g}{f' ({every})' if every else ''},"
    return "a running statistic of a batch norm is not finite"
