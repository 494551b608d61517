"""What a run does about steps whose loss, gradient or batch norm statistics are not finite.

Nothing waits for the device to find out. The step itself, on the device, keeps the state it was
given wherever something is not finite (`steps.train_step`), so that no bad state ever exists that
could go on or be saved. The host reads whether a step was good only when `LAG` later ones have been
handed over, and before it evaluates, saves or ends, when it has to wait anyway. The steps that by
then have followed a bad one went on from the good state before it; if the bad one ends the run
they are lost, as all since the newest checkpoint are. A run with the same seed meets the same bad
steps and decides the same, so that resuming stays bit-exact.
"""

import collections
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from psp_jax.state import TrainState

LAG = 1  # A step on its way keeps the device busy; more would hold memory.


class Watch:
    """Reads what steps say of themselves; counts bad ones until there are too many.

    Attributes:
        losses: of the good steps that were read since the last `take_losses`.
        gradient_norm: of the newest good step that was read.
        skipped: bad steps of the phase so far.
    """

    def __init__(
        self,
        *,
        allowed: int,
        skipped: int,
        origins: Callable[[int], str],
        advice: Callable[[], str],
        say: Callable[[str], None],
    ):
        """Starts watching.

        Args:
            allowed: bad steps that may be skipped.
            skipped: how many were before a resumption.
            origins: says where the examples of a step are from.
            advice: says what can be done, at the end of the error's message.
            say: prints a line.
        """
        self.losses: list[float] = []
        self._terms: list[dict[str, float]] = []
        self.gradient_norm = float("nan")
        self.skipped = skipped
        self._allowed, self._origins, self._advice, self._say = allowed, origins, advice, say
        self._waiting: collections.deque[tuple[int, dict[str, Any]]] = collections.deque()

    def add(self, step: int, figures: dict[str, Any]) -> None:
        """Takes the figures of a step that was handed over, and reads those of earlier ones.

        Raises:
            FloatingPointError: if one of those was bad and may not be skipped.
        """
        self._waiting.append((step, figures))
        while len(self._waiting) > LAG:
            self._read()

    def catch_up(self) -> None:
        """Waits for all steps so far; raises as `add` does."""
        while self._waiting:
            self._read()

    def take_losses(self) -> dict[str, float]:
        """Returns means over the good steps since the last call, after which none are left.

        Returns:
            The mean `loss`, NaN without such a step, and that of every term as `loss/TERM`.
        """
        losses, terms, self.losses, self._terms = self.losses, self._terms, [], []
        if not losses:
            return {"loss": float("nan")}
        names = terms[0]  # A phase's steps all have the same.
        means = {f"loss/{name}": float(np.mean([each[name] for each in terms])) for name in names}
        return {"loss": float(np.mean(losses)), **means}

    def _read(self) -> None:
        step, figures = self._waiting.popleft()
        figures = jax.device_get(figures)
        if figures["finite"]:
            self.losses.append(float(figures["loss"]))
            self._terms.append({name: float(term) for name, term in figures["terms"].items()})
            self.gradient_norm = float(figures["gradient_norm"])
            return
        self.skipped += 1
        words = f"{_what(figures)} at step {step}, of the examples {self._origins(step)}"
        if self.skipped > self._allowed:
            limit = f", {self.skipped} such steps in this phase" if self._allowed else ""
            raise FloatingPointError(f"{words}{limit}. {self._advice()}")
        self._say(f"skipped: {words} ({self.skipped} of {self._allowed} that may be)")


def check(state: TrainState, step: int) -> None:
    """Raises FloatingPointError unless all of a state is finite; for the moment before a save.

    An update can overflow with a finite gradient, which the next step would find out.
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


def _what(figures: dict[str, Any]) -> str:
    """Says what of a step is not finite, down to the terms of its loss."""
    loss, norm = float(figures["loss"]), float(figures["gradient_norm"])
    terms = {name: float(value) for name, value in figures["terms"].items()}
    if not np.isfinite(loss):
        bad = [f"{name} {value}" for name, value in terms.items() if not np.isfinite(value)]
        of_terms = f" (its terms {', '.join(bad)})" if bad else ""
        return f"loss is {loss}{of_terms}"
    if not np.isfinite(norm):
        every = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        return f"gradient_norm is {norm}, with loss {loss:.4g}{f' ({every})' if every else ''},"
    return "a batch norm's running statistic is not finite"
