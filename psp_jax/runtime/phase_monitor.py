"""Follows the steps of a phase: bad steps, throughput, progress line and validation records."""

import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from psp_jax import checkpoints, data, optim, phases
from psp_jax.experiment import Experiment
from psp_jax.phases import PhaseSpan
from psp_jax.runtime import goodput, metric_log, nonfinite
from psp_jax.state import TrainState


class PhaseMonitor:
    """Records what the steps of a phase report; use it in a `with` block."""

    def __init__(
        self,
        config: Experiment,
        span: PhaseSpan,
        state: TrainState,
        examples: data.Examples,
        *,
        workdir: pathlib.Path,
        log: metric_log.MetricLog,
        clock: goodput.Goodput,
    ):
        """Starts or resumes a phase.

        Args:
            config: the experiment.
            span: the phase.
            state: the state from which it starts or resumes.
            examples: the training split, to name the images of a bad step.
            workdir: folder of the run, whose newest checkpoint an error names.
            log: receives a record per validation.
            clock: charged with the time between the other activities.
        """
        self._config, self._span, self._examples = config, span, examples
        self._workdir, self._log, self._clock = workdir, log, clock
        phase, step = span.phase, int(state.step)
        skipped = step - span.start - int(optim.steps_taken(state.opt_state))
        self._steps = nonfinite.Monitor(skipped=skipped)
        self._images_per_step = phase.accumulate * config.data.batch_size
        self._progress = metric_log.Progress(step - span.start, phase.steps, self._images_per_step)
        self._counted = 0  # Steps since throughput was last measured, and when that was.
        self._since_s = time.monotonic()
        self._data_s = clock.spent(goodput.DATA)  # When throughput was last measured.
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "PhaseMonitor":
        """Starts to charge the clock with steps."""
        self._stack.enter_context(self._clock.spend(goodput.STEP))
        self._stack.callback(self._progress.close)
        return self

    def __exit__(self, *error: Any) -> None:
        """Closes the progress line."""
        self._stack.__exit__(*error)

    def record(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes the metrics of a dispatched step.

        Raises:
            FloatingPointError: if an earlier step was not finite and may not be skipped.
        """
        self._counted += 1
        self._handle(self._steps.add(step, metrics))
        self._progress.advance(self._steps.losses)

    @contextlib.contextmanager
    def paused(self, activity: str) -> Iterator[None]:
        """Waits for the steps so far; leaves the time of a `with` block out of the throughput.

        Args:
            activity: of `goodput`, charged with that time.
        """
        self._handle(self._steps.drain())
        paused_s = time.monotonic()
        with self._clock.spend(activity):
            yield
        self._since_s += time.monotonic() - paused_s

    def write(self, step: int, validation: dict[str, float], titles: dict[str, str]) -> None:
        """Logs and prints the losses and metrics since the last validation.

        Args:
            step: the step that was validated.
            validation: metrics of the validation split, `loss` among them.
            titles: of those metrics that the printed line shows.
        """
        per_epoch = data.steps_per_epoch(self._examples, self._config.data)  # Batches.
        images = self._counted * self._images_per_step
        elapsed_s = time.monotonic() - self._since_s
        images_per_s, data_s = images / elapsed_s, self._clock.spent(goodput.DATA) - self._data_s
        losses, skipped = self._steps.take_losses(), self._steps.skipped
        updates = max(step - self._span.start - 1 - skipped, 0)  # Of the phase, before this step.
        epoch = round(phases.batches_taken(self._config, step) / per_epoch, 2)
        record = {
            "step": step,
            "epoch": epoch,
            **{f"train_{name}": value for name, value in losses.items()},
            **{f"validation_{name}": value for name, value in validation.items()},
            "learning_rate": optim.learning_rate(self._span.phase, updates),
            "gradient_norm": self._steps.gradient_norm,
            "train_images": images,  # Since the last record, or since the run was resumed.
            "images_per_s": round(images_per_s, 2),
            "data_wait": round(data_s / elapsed_s, 4),  # Share of the time.
            "skipped_steps": self._log.skipped(self._span.start) + skipped,
        }
        self._log.write(record)
        shown = [f"{titles[name]} {validation[name]:.3f}" for name in titles if name in validation]
        shown.append(f"{images_per_s:.1f} images/s")
        self._progress.print(
            f"epoch {epoch:g}  step {step}  train loss {losses['loss']:.4f}  "
            f"validation loss {validation['loss']:.4f}  {'  '.join(shown)}"
        )
        self._counted, self._since_s = 0, time.monotonic()
        self._data_s += data_s

    def _handle(self, bad_steps: list[tuple[int, str]]) -> None:
        allowed = self._span.phase.skip_nonfinite
        for skipped, (step, description) in enumerate(
            bad_steps, self._steps.skipped - len(bad_steps) + 1
        ):
            message = f"{description} at step {step}, of the examples {self._origins(step)}"
            if skipped > allowed:
                limit = f", {skipped} such steps in this phase" if allowed else ""
                raise FloatingPointError(
                    f"{message}{limit}. The newest checkpoint is "
                    f"{checkpoints.latest_step(self._workdir)}. Try a smaller learning_rate or "
                    "clip_norm, or allow steps to be skipped with the phase's skip_nonfinite"
                )
            self._progress.print(f"skipped: {message} ({skipped} of at most {allowed})")

    def _origins(self, step: int) -> str:
        done, config = phases.batches_taken(self._config, step), self._config
        batches = range(done - self._span.phase.accumulate, done)
        return ", ".join(
            origin
            for index in batches
            for origin in data.origins(self._examples, config.data, seed=config.seed, step=index)
        )
