"""The training run: config -> data -> model -> state -> step -> files."""

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from psp_jax import checkpoints, data, experiment, init_from, optim, state, steps
from psp_jax.batch import Batch
from psp_jax.evaluation import run_report, scoring
from psp_jax.experiment import Experiment, Phase
from psp_jax.metrics import depth_metrics
from psp_jax.models import parts
from psp_jax.runtime import goodput, lock, mesh, metric_log, nonfinite, summary
from psp_jax.runtime.preemption import Termination
from psp_jax.state import TrainState


def check(config: Experiment, workdir: str) -> None:
    """Finds what would stop the run, before any work is done.

    Raises:
        ValueError: if a field is wrong, or the workdir holds another experiment.
        OSError: if the workdir can't be written or the data set is missing.
    """
    experiment.check(config)
    model = config.model.make(config.objective.channels)
    for index, phase in enumerate(config.phases):
        parts.check(model.PARTS, phase.train)
        optim.check(f"phases[{index}]", phase, model.PARTS)
    _check_auxiliary(config, model)
    config.data.source.check()
    folder = pathlib.Path(workdir)
    if config.init_from and checkpoints.latest_step(folder) is None:
        init_from.check(config.init_from, model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # Processes of other hosts can have the same number.
    except OSError as error:
        raise OSError(f"workdir {workdir} can't be written: {error.strerror}") from None
    changes = experiment.differences(config, folder)
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise ValueError(
            f"workdir {workdir} holds another experiment ({'; '.join(changes[:3])}{more}); "
            "pass another --workdir, or delete that folder to start anew"
        )
    mesh.check(config.data.batch_size)


def run(config: Experiment, workdir: str) -> TrainState:
    """Trains every phase in order, resuming from workdir if it holds a checkpoint.

    Afterwards the workdir holds the config, checkpoints, `metrics.jsonl`, TensorBoard events,
    curves, a sheet of test pictures and the test figures in `test.json`.

    Args:
        config: the experiment.
        workdir: folder of the run, made if it is not there.

    Returns:
        The state after the last step.

    Raises:
        ValueError, OSError: see `check`.
        FloatingPointError: if loss, gradient or statistics of a step are not finite, as soon as
            that is more than its phase may skip; nothing after the step is saved.
        SystemExit: with status 143 after SIGTERM, 138 after SIGUSR1 or 130 after Ctrl-C, once the
            state is saved.
    """
    check(config, workdir)
    devices = mesh.Devices(shard_parameters=config.shard_parameters)
    folder = pathlib.Path(workdir)
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(devices.outlet(folder, metric_log.METRICS_FILE))
        devices.first_says(lambda: _enter(stack, lock.sole_run(folder)))
        return _run(config, folder, devices, own)


def _enter(stack: contextlib.ExitStack, manager: contextlib.AbstractContextManager[None]) -> None:
    stack.enter_context(manager)


def _run(
    config: Experiment, folder: pathlib.Path, devices: mesh.Devices, own: pathlib.Path
) -> TrainState:
    """Runs with the workdir `folder`; what is to be written once goes to `own`."""
    clock = goodput.Goodput(own)
    experiment.save(config, own)
    place = devices.in_turn(functools.partial(_prepared, config))
    splits = data.open_splits(place)
    if config.data.skip_damaged:
        splits = data.sound(splits)
    data.check_labels(splits["train"], config.data)
    splits["train"] = data.shared(splits["train"], config.data.train_fraction)
    images = {f"number of {name} images": len(examples) for name, examples in splits.items()}
    devices.check_agreement({"config": experiment.text(config), **images})
    model = config.model.make(config.objective.channels)
    validate = scoring.make(config, model, devices, depth_metrics.brief_depth_figures)
    with (
        checkpoints.Store(folder, keep=config.keep_checkpoints, devices=devices) as store,
        Termination(devices) as termination,
    ):
        start = devices.first_says(store.latest_step) or 0
        if start:
            like = init_from.shapes(model)
            variables = store.load_variables(start, like)
            print(f"resuming {folder} after step {start}")
            if changes := store.changes(start):
                print(f"not bit-exactly, since it began elsewhere ({'; '.join(changes)})")
        else:
            variables, words = init_from.start(config, model)
            print("".join(f"{line}\n" for line in words), end="")
            if devices.processes > 1:
                devices.check_agreement({"initial variables": mesh.digest(variables)})
            variables = devices.place(variables)
        log = metric_log.Journal(own, start)
        job = _Job(config, model, validate, splits, store, log, termination, clock, devices)
        first = 0
        for phase in config.phases:
            last = first + phase.steps
            tx = optim.make(phase)
            make = state.create_averaging if phase.ema_decay else state.create
            make = functools.partial(make, tx=tx, train=phase.train, step=max(start, first))
            current = devices.create(make, variables)
            if first < start < last:  # At a phase's first step its optimizer starts afresh.
                opt_state = store.load_optimizer(start, current.opt_state)
                current = dataclasses.replace(current, opt_state=opt_state)
            if start < last:
                current = _train(job, phase, tx, current, first)
            variables, first = current.variables, last
        log.close()
        if skipped := log.skipped(first):
            print(f"{skipped} of {first} steps were skipped, since they were not finite")
        termination.look_well()
        termination.obey(f"terminated: all {first} steps are saved, the test is still to come")
    with clock.spend(goodput.REPORT):
        # The report is the work of one device.
        evaluate, variables = scoring.make(config, model), devices.local(variables)
        devices.first_says(
            lambda: run_report.report(
                config, model, evaluate, variables, splits, folder, log.records
            )
        )
    clock.saved()
    print("\n".join(clock.lines()))
    return current


def _check_auxiliary(config: Experiment, model: Any) -> None:
    """Refuses an auxiliary head that no phase trains: it would be carried along for nothing."""
    for part in model.PARTS:
        trained = any(parts.covers(phase.train, part) for phase in config.phases)
        if part.split("/")[-1] == "auxiliary" and not trained:
            raise experiment.ConfigError(
                f"config.model has auxiliary=True, but no phase trains the part {part!r}; name it "
                "in the train of a phase, or leave auxiliary out"
            )


def _prepared(config: Experiment) -> str:
    try:
        return config.data.source.prepare()
    except ValueError as error:
        raise experiment.ConfigError(f"config.data.source: {error}") from error


@dataclasses.dataclass(frozen=True)
class _Job:
    """What every phase of a run shares."""

    config: Experiment
    model: Any
    validate: scoring.Evaluate
    splits: dict[str, data.Examples]
    store: checkpoints.Store
    log: metric_log.Journal
    termination: Termination
    clock: goodput.Goodput
    devices: mesh.Devices


def _train(job: _Job, phase: Phase, tx: Any, current: TrainState, first: int) -> TrainState:
    """Trains from `current` to the end of the phase that began at step `first`."""
    config, examples, devices = job.config, job.splits["train"], job.devices
    step, last = int(current.step), first + phase.steps
    per_epoch = data.steps_per_epoch(examples, config.data)  # Batches.
    done, rows = experiment.batches(config, step), devices.rows(config.data.batch_size)
    batches = data.train_batches(
        examples, config.data, seed=config.seed, first_step=done, rows=rows
    )
    take_step = functools.partial(
        steps.train_step,
        model=job.model,
        objective=config.objective,
        tx=tx,
        phase=phase,
        seed=config.seed,
    )
    batch = _take(devices, batches, phase.accumulate)
    with job.clock.spend(goodput.COMPILE):
        compiled = devices.jit_step(take_step, current).lower(current, batch).compile()
    print(summary.describe(config, phase, current, job.splits, compiled), flush=True)
    job.termination.look_well()
    job.termination.obey(f"terminated before step {step + 1}, the same command goes on from there")
    began, began_s = step, time.monotonic()
    images_per_step = phase.accumulate * config.data.batch_size
    with (
        metric_log.Progress(step - first, phase.steps, images_per_step) as progress,
        job.clock.spend(goodput.STEP),
    ):
        watch = _watch(job, phase, current, first, progress)
        while True:
            with jax.transfer_guard("disallow"):
                current, figures = compiled(current, batch)
            step, done = step + 1, done + phase.accumulate
            watch.add(step, figures)
            progress.advance(watch.losses)
            if step % config.validate_every == 0 or step == last:
                watch.catch_up()
                images = (step - began) * images_per_step
                images_per_s = images / (time.monotonic() - began_s)
                with job.clock.spend(goodput.EVALUATION):
                    scores = job.validate(current.variables, job.splits["validation"])
                trained = watch.take_losses()
                terms = {f"loss/{name}": value for name, value in scores.terms.items()}
                validation = scores.figures() | terms
                record = {
                    "step": step,
                    "epoch": round(done / per_epoch, 2),
                    **{f"train_{name}": value for name, value in trained.items()},
                    **{f"validation_{name}": value for name, value in validation.items()},
                    "learning_rate": optim.rate(phase, max(step - first - 1 - watch.skipped, 0)),
                    "gradient_norm": watch.gradient_norm,
                    "train_images": images,  # Since the last line, or since a resumption.
                    "images_per_s": round(images_per_s, 2),
                    "skipped_steps": job.log.skipped(first) + watch.skipped,
                }
                job.log.write(record)
                progress.say(_line(record))
                began, began_s = step, time.monotonic()
            job.termination.look()
            if step == last or step % config.checkpoint_every == 0 or job.termination.requested:
                saving_s = time.monotonic()
                watch.catch_up()
                nonfinite.check(current, step)
                with job.clock.spend(goodput.SAVE):
                    job.store.save(current)
                job.clock.saved()
                began_s += time.monotonic() - saving_s  # Saving is no part of the images/s.
            if step == last:
                return current
            job.termination.obey(
                f"terminated: step {step} is saved, the same command goes on from it"
            )
            with job.clock.spend(goodput.DATA):
                batch = _take(devices, batches, phase.accumulate)


def _take(devices: mesh.Devices, batches: Iterator[Batch], count: int) -> Batch:
    """Puts the next batch on the devices, or `count` of them stacked along a first axis."""
    if count == 1:
        return devices.batch(next(batches))
    taken = itertools.islice(batches, count)
    return devices.batch(jax.tree.map(lambda *arrays: np.stack(arrays), *taken), axis=1)


def _watch(
    job: _Job, phase: Phase, current: TrainState, first: int, progress: metric_log.Progress
) -> nonfinite.Watch:
    """Watches the steps of a phase that goes on from `current`."""
    config, examples = job.config, job.splits["train"]

    def origins(step: int) -> str:
        done = experiment.batches(config, step)
        taken = range(done - phase.accumulate, done)
        seed = config.seed
        each = (data.origins(examples, config.data, seed=seed, step=index) for index in taken)
        return ", ".join(itertools.chain(*each))

    def advice() -> str:
        newest = job.store.latest_step()
        return (
            f"{'No checkpoint is' if newest is None else f'Checkpoint {newest} is the newest'} "
            "there. Try a smaller learning_rate or clip_norm, or let steps be left out by the "
            "phase's skip_nonfinite"
        )

    return nonfinite.Watch(
        allowed=phase.skip_nonfinite,
        skipped=int(current.step) - first - int(optim.taken(current.opt_state)),
        origins=origins,
        advice=advice,
        say=progress.say,
    )


def _line(record: dict[str, float]) -> str:
    shown = "  ".join(
        f"{title} {record['validation_' + name]:.3f}"
        for name, title in scoring.HEADLINES.items()
        if f"validation_{name}" in record
    )
    return (
        f"epoch {record['epoch']:g}  step {record['step']}  "
        f"train loss {record['train_loss']:.4f}  validation loss {record['validation_loss']:.4f}  "
        f"{shown}  "
        f"{record['images_per_s']:.1f} images/s"
    )
