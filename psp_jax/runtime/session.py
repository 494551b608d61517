"""The surroundings of a run: workdir, devices, checkpoints, logs, signals."""

import contextlib
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from psp_jax import checkpoints, data, experiment, optim, phases, state, tracking
from psp_jax.batch import Batch
from psp_jax.experiment import Experiment
from psp_jax.io import files
from psp_jax.metrics import directions
from psp_jax.phases import PhaseSpan
from psp_jax.runtime import extension, goodput, lock, mesh, metric_log, nonfinite, processes
from psp_jax.runtime.compiled_step import CompiledStep, compile_step
from psp_jax.runtime.phase_monitor import PhaseMonitor
from psp_jax.runtime.preemption import Preemption
from psp_jax.state import TrainState, Variables

# The first validation sheet is drawn after this step, since the first validation can be far off.
FIRST_SHEET_STEP = 20


class Session:
    """One execution of a run; use it in a `with` block.

    It locks the workdir, restores the newest checkpoint, saves, logs, and turns signals into a
    saved exit. On several processes all of them make the same calls; the primary writes and prints.

    Attributes:
        workdir: folder of the run.
        mesh: the devices.
        clock: charges seconds to activities.
        log: the metrics; opened by `restore`.
    """

    log: metric_log.MetricLog

    def __init__(self, config: Experiment, workdir: str, resume_from: int | None = None):
        """Takes an experiment that was checked; `resume_from`: see `checkpoints.Store.choose`."""
        self.config, self.workdir = config, pathlib.Path(workdir)
        self._resume_from = resume_from
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Session":
        """Claims the workdir; raises OSError if another run is in it, or its steps are damaged."""
        with contextlib.ExitStack() as stack:
            output = processes.primary_output(self.workdir, metric_log.METRICS_FILE)
            self._output_dir = stack.enter_context(output)
            processes.broadcast_from_primary(functools.partial(self._claim, stack))
            self.mesh = mesh.Mesh(shard_parameters=self.config.shard_parameters)
            keep = self.config.keep_checkpoints
            store = checkpoints.Store(self.workdir, keep=keep, mesh=self.mesh)
            self._store = stack.enter_context(store)
            self._start = store.choose(self._resume_from, needs_optimizer=self._needs_optimizer)
            self.clock = goodput.Goodput(self._output_dir)
            self._signals = stack.enter_context(contextlib.ExitStack())
            self._preemption = self._signals.enter_context(Preemption())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Frees the workdir."""
        self._stack.__exit__(*error)

    def _claim(self, stack: contextlib.ExitStack) -> None:
        self._lease = stack.enter_context(lock.sole_run(self.workdir))

    def _check_lease(self) -> None:
        processes.broadcast_from_primary(lambda: self._lease.check())

    def prepare_data(self) -> str:
        """Prepares the data set, the primary process first, and returns its folder."""
        try:
            return processes.primary_first(self.config.data.source.prepare)
        except ValueError as error:
            raise experiment.ConfigError(f"config.data.source: {error}") from error

    def save_config(self) -> None:
        """Writes the config into the workdir, which then refuses other experiments."""
        path = self._output_dir / experiment.CONFIG_FILE
        changes = extension.changes(self.config, self._output_dir, self._start)
        if changes.allowed:
            kept = files.keep_copy(path)
            print(f"changed, before: {kept}: {'; '.join(changes.allowed)}")
        experiment.save(self.config, self._output_dir)

    def restore(self, like: Variables) -> Variables | None:
        """Restores the variables of the newest checkpoint and opens the metric log at its step.

        Args:
            like: shapes that the checkpoint must have.

        Returns:
            The placed variables; None if there is no checkpoint.
        """
        self._store.set_aside(self._start)
        self.log = metric_log.MetricLog(self._output_dir, self._start, self._writers())
        self._stack.callback(self.log.close)
        if not self._start:
            return None
        variables = self._store.load_variables(self._start, like)
        print(f"resuming {self.workdir} after step {self._start}")
        if changes := self._store.changes(self._start):
            print(f"not bit-exactly, since the environment changed ({'; '.join(changes)})")
        return variables

    def _writers(self) -> list[tracking.MetricWriter]:
        folder = self._output_dir / "tensorboard"
        writers: list[tracking.MetricWriter] = [metric_log.TensorBoard(folder, self._start)]
        print(f"curves and pictures: tensorboard --logdir={self.workdir / folder.name}")
        if processes.is_primary():
            writers += tracking.open_all(self.config.writers, self.workdir, self.config)
        return writers

    def place(self, variables: Variables) -> Variables:
        """Puts initial variables on the devices; raises ConfigError if processes differ in them."""
        if jax.process_count() > 1:
            processes.assert_equal({"initial variables": mesh.digest(variables)})
        return self.mesh.place(variables)

    def _needs_optimizer(self, step: int) -> bool:
        return any(span.start < step < span.last for span in phases.spans(self.config))

    def start_phase(self, span: PhaseSpan, variables: Variables) -> TrainState:
        """Returns the state in which a phase starts or resumes."""
        phase, step = span.phase, max(self._start, span.start)
        make = state.create_with_ema if phase.ema_decay else state.create
        make = functools.partial(make, tx=optim.make(phase), train=phase.train, step=step)
        current = self.mesh.create(make, variables)
        if span.start < self._start < span.last:  # Otherwise the optimizer state is new.
            opt_state = self._store.load_optimizer(self._start, current.opt_state)
            current = dataclasses.replace(current, opt_state=opt_state)
        return current

    def batches(
        self, examples: data.Examples, span: PhaseSpan, step: int
    ) -> Iterator[tuple[int, Batch]]:
        """Yields the steps of a phase after `step` with their batches, placed on the devices.

        With `phase.accumulate` above 1 that many batches are stacked along a first axis.
        """
        config, count = self.config.data, span.phase.accumulate
        batches = data.train_batches(
            examples,
            config,
            seed=self.config.seed,
            first_step=phases.batches_taken(self.config, step),
            rows=self.mesh.rows(config.batch_size),
        )
        for number in range(step + 1, span.last + 1):
            with self.clock.spend(goodput.DATA):
                taken = [next(batches) for _ in range(count)]
                if count == 1:
                    batch = self.mesh.batch(taken[0])
                else:
                    batch = self.mesh.batch(jax.tree.map(lambda *x: np.stack(x), *taken), axis=1)
            yield number, batch

    def compile(
        self, step_fn: Callable, current: TrainState, batches: Iterator[tuple[int, Batch]]
    ) -> tuple[CompiledStep, Iterator[tuple[int, Batch]]]:
        """Compiles a training step for a state and the first batch; returns it and all batches."""
        first = next(batches)
        with self.clock.spend(goodput.COMPILE):
            compiled = compile_step(self.mesh.jit_step(step_fn, current), current, first[1])
        return compiled, itertools.chain([first], batches)

    def monitor(
        self, span: PhaseSpan, current: TrainState, examples: data.Examples
    ) -> PhaseMonitor:
        """Returns the context manager that follows the steps of a phase."""
        self._preemption.sync()
        self._preemption.exit_if_requested(
            f"terminated before step {int(current.step) + 1}; run the same command to resume there"
        )
        files = {"workdir": self.workdir, "log": self.log}
        return PhaseMonitor(self.config, span, current, examples, clock=self.clock, **files)

    def should_validate(self, step: int, span: PhaseSpan) -> bool:
        """Returns whether a step is to be validated: on schedule, or at the end of a phase."""
        return step % self.config.validate_every == 0 or step == span.last

    def should_draw(self, step: int, span: PhaseSpan) -> bool:
        """Returns whether to draw a validation sheet: at a validation, and once early."""
        return step == FIRST_SHEET_STEP or self.should_validate(step, span)

    def show(self, step: int, draw: Callable[[], dict[str, bytes]]) -> None:
        """Logs the validation sheets that `draw` returns on the primary process."""
        processes.broadcast_from_primary(lambda: self.log.write_sheets(step, draw()))

    def should_save(self, step: int, span: PhaseSpan) -> bool:
        """Returns whether a step is to be saved: on schedule, or because a signal asks for it."""
        self._preemption.poll()
        due = step == span.last or step % self.config.checkpoint_every == 0
        due |= self.best_step(step) == step or self.should_stop(step, span)
        return due or bool(self._preemption.requested)

    def best_step(self, step: int) -> int | None:
        """Returns the best validated step up to `step`, by the metric of the config."""
        return self.log.best_step(step, self.config.best_metric)

    def should_stop(self, step: int, span: PhaseSpan) -> bool:
        """Returns whether the patience of the config ends the last phase at a step."""
        if not self.config.patience or span != phases.spans(self.config)[-1]:
            return False
        since = max(self.best_step(step) or 0, span.start)
        waited = [r for r in self.log.records if since < r["step"] <= step]
        return len(waited) >= self.config.patience

    def best_variables(self, current: TrainState) -> Variables:
        """Returns the variables of the best step, and prints which it is."""
        last, metric = int(current.step), self.config.best_metric or directions.LOSS
        step = self.best_step(last)
        if step is None or (step != last and not self._store.is_intact(step)):
            print(f"step {last} is tested: the checkpoint of step {step}, the best, is not intact")
            return current.variables
        print(f"step {step} of {last} is tested: the best by validation {metric}")
        return current.variables if step == last else self._store.load_variables(step)

    def save(self, current: TrainState) -> None:
        """Saves a state under its step; raises FloatingPointError if it is not finite."""
        nonfinite.check(current, int(current.step))
        self._check_lease()
        self._store.save(current, best_at=self.best_step)
        self.clock.saved()

    def exit_if_requested(self, step: int, span: PhaseSpan) -> None:
        """Exits after a saved step if a signal asks for it; the end of a phase is no such place."""
        if step < span.last:
            self._preemption.exit_if_requested(
                f"terminated: step {step} is saved; run the same command to resume"
            )

    def end_training(self, last: int) -> None:
        """Closes the metric log after the last step; exits if a signal asks for it."""
        self.log.close()
        if skipped := self.log.skipped(last):
            print(f"{skipped} of {last} steps were skipped, since they were not finite")
        self._preemption.sync()
        self._preemption.exit_if_requested(
            f"terminated: all {last} steps are saved; run the same command for the test"
        )
        self._signals.close()  # The report can be repeated: a signal ends it at once.

    def report(self, action: Callable[[], None]) -> None:
        """Runs the report on the primary process; the others wait for its end or its error."""
        self._check_lease()
        with self.clock.spend(goodput.REPORT):
            processes.broadcast_from_primary(action)
        self.clock.saved()
        print("\n".join(self.clock.lines()))
