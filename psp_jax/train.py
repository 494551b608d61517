"""The training run: config -> data -> model -> state -> step -> files."""

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

from psp_jax import (
    checkpoints,
    data,
    evaluation,
    experiment,
    feature_cache,
    finiteness,
    goodput,
    journal,
    lock,
    optim,
    parts,
    results,
    state,
    steps,
    summary,
)
from psp_jax.batch import Batch
from psp_jax.experiment import Experiment, Phase
from psp_jax.state import TrainState
from psp_jax.termination import Termination
from psp_jax.weights import initial


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
    feature_cache.check(config)
    config.data.source.check()
    folder = pathlib.Path(workdir)
    if config.init_from and checkpoints.latest_step(folder) is None:
        initial.check(config.init_from, model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"workdir {workdir} can't be written: {error.strerror}") from None
    changes = experiment.differences(config, folder)
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise ValueError(
            f"workdir {workdir} holds another experiment ({'; '.join(changes[:3])}{more}); "
            "pass another --workdir, or delete that folder to start anew"
        )


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
    with lock.sole_run(pathlib.Path(workdir)):
        return _run(config, workdir)


def _run(config: Experiment, workdir: str) -> TrainState:
    folder = pathlib.Path(workdir)
    clock = goodput.Goodput(folder)
    experiment.save(config, folder)
    place = _prepared(config)
    splits = data.open_splits(place)
    if config.data.skip_damaged:
        splits = data.sound(splits)
    data.check_labels(splits["train"], config.data)
    splits["train"] = data.shared(splits["train"], config.data.train_share)
    model = config.model.make(config.objective.channels)
    evaluate = evaluation.make(config, model)
    with (
        checkpoints.Store(folder, keep=config.keep_checkpoints) as store,
        Termination() as termination,
    ):
        start = store.latest_step() or 0
        if start:
            like = jax.eval_shape(functools.partial(initial.drawn, config, model))
            variables = store.load_variables(start, like)
            print(f"resuming {workdir} after step {start}")
            if changes := store.changes(start):
                print(f"not bit-exactly, since it began elsewhere ({'; '.join(changes)})")
        else:
            variables, words = initial.start(config, model)
            print("".join(f"{line}\n" for line in words), end="")
        log = journal.Journal(folder, start)
        job = _Job(config, model, evaluate, splits, store, log, termination, clock)
        if config.cache_features and start < sum(phase.steps for phase in config.phases):
            rest, kept = feature_cache.open_or_build(config, model, variables, splits, place)
            watch = evaluation.make(config, rest)
            job = dataclasses.replace(job, model=rest, evaluate=watch, splits=kept)
        first = 0
        for phase in config.phases:
            last = first + phase.steps
            tx = optim.make(phase)
            create = state.create_averaging if phase.ema_decay else state.create
            current = create(variables, tx, phase.train, max(start, first))
            if first < start < last:  # At a phase's first step its optimizer starts afresh.
                opt_state = store.load_optimizer(start, current.opt_state)
                current = dataclasses.replace(current, opt_state=opt_state)
            if start < last:
                current = _train(job, phase, tx, current, first)
            variables, first = current.variables, last
        log.close()
        if skipped := log.skipped(first):
            print(f"{skipped} of {first} steps were skipped, since they were not finite")
        termination.obey(f"terminated: all {first} steps are saved, the test is still to come")
    with clock.spend(goodput.REPORT):
        results.report(config, model, evaluate, variables, splits, folder, log.records)
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
    evaluate: evaluation.Evaluate
    splits: dict[str, data.Examples]
    store: checkpoints.Store
    log: journal.Journal
    termination: Termination
    clock: goodput.Goodput


def _train(job: _Job, phase: Phase, tx: Any, current: TrainState, first: int) -> TrainState:
    """Trains from `current` to the end of the phase that began at step `first`."""
    config, examples = job.config, job.splits["train"]
    step, last = int(current.step), first + phase.steps
    per_epoch = data.steps_per_epoch(examples, config.data)  # Batches.
    done = experiment.batches(config, step)
    batches = data.train_batches(examples, config.data, seed=config.seed, first_step=done)
    take_step = functools.partial(
        steps.train_step,
        model=job.model,
        objective=config.objective,
        tx=tx,
        phase=phase,
        seed=config.seed,
    )
    batch = _take(batches, phase.accumulate)
    with job.clock.spend(goodput.COMPILE):
        compiled = jax.jit(take_step, donate_argnums=0).lower(current, batch).compile()
    print(summary.describe(config, phase, current, job.splits, compiled), flush=True)
    job.termination.obey(f"terminated before step {step + 1}, the same command goes on from there")
    began, began_s = step, time.monotonic()
    images_per_step = phase.accumulate * config.data.batch_size
    with (
        journal.Progress(step - first, phase.steps, images_per_step) as progress,
        job.clock.spend(goodput.STEP),
    ):
        watch = _watch(job, phase, current, first, progress)
        while True:
            with jax.transfer_guard("disallow"):
                current, figures = compiled(current, batch)
            step, done = step + 1, done + phase.accumulate
            watch.add(step, figures)
            progress.advance(watch.losses)
            if done % per_epoch < phase.accumulate or step == last:
                watch.catch_up()
                images = (step - began) * images_per_step
                images_per_s = images / (time.monotonic() - began_s)
                with job.clock.spend(goodput.EVALUATION):
                    scores = job.evaluate(current.variables, job.splits["validation"])
                validation = scores.figures()
                record = {
                    "step": step,
                    "epoch": round(done / per_epoch, 2),
                    "train_loss": watch.take_losses(),
                    **{f"validation_{name}": value for name, value in validation.items()},
                    "learning_rate": optim.rate(phase, max(step - first - 1 - watch.skipped, 0)),
                    "gradient_norm": watch.gradient_norm,
                    "train_images": images,  # Fewer than an epoch's after a resumption in it.
                    "images_per_s": round(images_per_s, 2),
                    "skipped_steps": job.log.skipped(first) + watch.skipped,
                }
                job.log.write(record)
                progress.say(_line(record))
                began, began_s = step, time.monotonic()
            if step == last or step % config.checkpoint_every == 0 or job.termination.requested:
                saving_s = time.monotonic()
                watch.catch_up()
                finiteness.check(current, step)
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
                batch = _take(batches, phase.accumulate)


def _take(batches: Iterator[Batch], count: int) -> Batch:
    """Puts the next batch on the device, or `count` of them stacked along a first axis."""
    if count == 1:
        return jax.device_put(next(batches))
    taken = itertools.islice(batches, count)
    return jax.device_put(jax.tree.map(lambda *arrays: np.stack(arrays), *taken))


def _watch(
    job: _Job, phase: Phase, current: TrainState, first: int, progress: journal.Progress
) -> finiteness.Watch:
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

    return finiteness.Watch(
        allowed=phase.skip_nonfinite,
        skipped=int(current.step) - first - int(optim.taken(current.opt_state)),
        origins=origins,
        advice=advice,
        say=progress.say,
    )


def _line(record: dict[str, float]) -> str:
    shown = "  ".join(
        f"{title} {record['validation_' + name]:.3f}"
        for name, title in evaluation.HEADLINES.items()
        if f"validation_{name}" in record
    )
    return (
        f"epoch {record['epoch']:g}  step {record['step']}  "
        f"train loss {record['train_loss']:.4f}  validation loss {record['validation_loss']:.4f}  "
        f"{shown}  "
        f"{record['images_per_s']:.1f} images/s"
    )
