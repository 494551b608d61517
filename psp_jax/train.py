"""The training run: config -> data -> model -> state -> step -> files."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from psp_jax import (
    augment,
    cache,
    checkpoints,
    data,
    experiment,
    init_from,
    optim,
    phases,
    prepared,
    steps,
)
from psp_jax.batch import Batch
from psp_jax.evaluation import run_report, scoring, tables, validation_sheets
from psp_jax.experiment import Experiment
from psp_jax.io import files
from psp_jax.metrics import depth_metrics
from psp_jax.models import parts
from psp_jax.phases import PhaseSpan
from psp_jax.runtime import (
    accelerator,
    compile_cache,
    extension,
    goodput,
    mesh,
    processes,
    summary,
)
from psp_jax.runtime.session import Session
from psp_jax.state import TrainState

Splits = dict[str, data.Examples]


class Validation(NamedTuple):
    """Scores and draws the validation split, compiled once for all phases."""

    score: scoring.Evaluator
    sheets: validation_sheets.ValidationSheets


def run(config: Experiment, workdir: str, *, resume_from: int | None = None) -> TrainState:
    """Trains every phase in order, resuming from workdir if it holds a checkpoint.

    Afterwards the workdir holds the config, checkpoints, `metrics.jsonl`, TensorBoard events,
    curves, a sheet of test pictures and the test metrics in `test.json`.

    Args:
        config: the experiment.
        workdir: folder of the run, made if it does not exist.
        resume_from: an older step to resume from, or 0 to start from scratch, where the newest
            checkpoint is damaged or gone; the newer ones are then moved to `unused_checkpoints`.

    Returns:
        The state after the last step.

    Raises:
        ValueError, OSError: see `check`.
        FloatingPointError: if loss, gradient or statistics of a step are not finite, as soon as
            that is more than its phase may skip; nothing after the step is saved.
        SystemExit: with status 143 after SIGTERM, 138 after SIGUSR1 or 130 after Ctrl-C, once the
            state is saved.
    """
    workdir, config = str(files.local_path(workdir)), prepared.fitted(config)
    check(config, workdir, resume_from=resume_from)
    compile_cache.enable()
    accelerator.warn_of_unused_gpus()
    with Session(config, workdir, resume_from) as session:
        splits = open_splits(config, session)
        session.save_config()  # Everything is checked: a corrected command finds no other config.
        model = config.model.make(config.objective.channels)
        variables = session.restore(init_from.shapes(model))
        if variables is None:
            variables, sources = init_from.start(config, model)
            print("".join(f"{line}\n" for line in sources), end="")
            variables = session.place(variables)
        scoring.check_metric(config, model, variables)
        validation = make_validation(config, model, splits, session)
        for span in phases.spans(config):
            state = session.start_phase(span, variables)
            done = int(state.step)
            if done < span.last and not session.should_stop(done, span):
                state = train_phase(config, span, model, state, splits, session, validation)
            variables = state.variables
        session.end_training(int(state.step))
        # The report is the work of one device.
        variables = session.mesh.local(session.best_variables(state))
        given = (config, model, variables, splits, session.workdir, session.log.records)
        session.report(functools.partial(run_report.report, *given))
    return state


def train_phase(
    config: Experiment,
    span: PhaseSpan,
    model: Any,
    state: TrainState,
    splits: Splits,
    session: Session,
    validation: Validation,
) -> TrainState:
    """Trains from `state` to the end of a phase."""
    phase, examples = span.phase, splits["train"]
    batches = session.batches(examples, span, int(state.step))
    step_fn, batches = session.compile(make_step(config, phase, model), state, batches)
    print(summary.describe(config, phase, state, splits, step_fn), flush=True)
    with session.monitor(span, state, examples) as monitor:
        for step, batch in batches:
            with jax.transfer_guard("disallow"):
                state, metrics = step_fn(state, batch)
            monitor.record(step, metrics)
            if session.should_validate(step, span):
                with monitor.paused(goodput.EVALUATION):
                    scores = validation.score(state.variables, splits["validation"])
                monitor.write(step, scores.record(), scoring.HEADLINES)
            if session.should_draw(step, span):
                with monitor.paused(goodput.PICTURES):
                    variables = session.mesh.local(state.variables)
                    session.show(step, functools.partial(validation.sheets.draw, variables))
            if session.should_save(step, span):
                with monitor.paused(goodput.SAVE):
                    session.save(state)
                session.exit_if_requested(step, span)
            if session.should_stop(step, span):
                break
    return state


def make_validation(config: Experiment, model: Any, splits: Splits, session: Session) -> Validation:
    """Returns what scores and draws the validation split of a run."""
    score = scoring.Evaluator(
        config, model, session.mesh, measure_depth=depth_metrics.brief_depth_metrics
    )
    return Validation(
        score, validation_sheets.ValidationSheets(config, model, splits["validation"])
    )


def make_step(config: Experiment, phase: experiment.Phase, model: Any) -> Callable:
    """Returns the training step of a phase as a function of a state and a batch."""
    return functools.partial(
        steps.train_step,
        model=model,
        objective=config.objective,
        tx=optim.make(phase),
        phase=phase,
        seed=config.seed,
        augment=augmentation(config.data),
    )


def augmentation(config: experiment.Data) -> Callable[[Batch, jax.Array], Batch] | None:
    """Returns what changes a batch at random; None if nothing does."""
    if config.augmentation is None:
        return None
    strengths = {"augmentation": config.augmentation, "max_depth_m": config.max_depth_m}
    return functools.partial(augment.augment, **strengths)


def open_splits(config: Experiment, session: Session) -> Splits:
    """Prepares the data set and opens its splits; processes must see the same number of images."""
    splits = data.open_splits(session.prepare_data())
    if config.data.skip_damaged:
        splits = data.without_damaged(splits)
    data.check_labels(splits["train"], config.data)
    splits["train"] = data.subsample(splits["train"], config.data.train_fraction)
    images = {f"number of {name} images": len(examples) for name, examples in splits.items()}
    data.check_batch_size(splits["train"], config.data)
    if config.data.cache:
        splits = cache.cached(splits, config.data)
    processes.assert_equal({"config": experiment.text(config), **images})
    return splits


def check(config: Experiment, workdir: str, *, resume_from: int | None = None) -> None:
    """Finds what would stop the run, before any work is done.

    Args:
        config: the experiment.
        workdir: folder of the run.
        resume_from: see `run`.

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
    folder = files.local_path(workdir)
    step = checkpoints.latest_step(folder)
    if step is None and resume_from is None and (folder / tables.TEST_FILE).exists():
        raise OSError(
            f"workdir {workdir} holds a finished run whose {checkpoints.FOLDER}/ is gone; restore "
            "it from a backup, pass --resume_from=0 to train again, or pass another --workdir"
        )
    if not step or resume_from == 0:
        _check_frozen_trunk(config, model)
        init_from.check(config, model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # Processes of other hosts can have the same number.
    except OSError as error:
        raise OSError(f"workdir {workdir} can't be written: {error.strerror}") from None
    changes = extension.changes(config, folder, step or 0).refused
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise ValueError(
            f"workdir {workdir} holds another experiment ({'; '.join(changes[:3])}{more}); "
            "pass another --workdir, or delete that folder to start from scratch"
        )
    mesh.check(config.data.batch_size)
    _check_batch_norms(config, model)


def _check_batch_norms(config: Experiment, model: Any) -> None:
    """Refuses a batch norm in train mode that would see one value per channel.

    That is so with one image at a 1x1 map, such as that of the coarsest level of the pyramid. Its
    output would be 0 whatever the image, and neither PyTorch nor accumulated batches change that.
    """
    if config.data.batch_size > 1:
        return
    height, width = config.data.source.size() or init_from.SMALL_IMAGE
    image = jax.ShapeDtypeStruct((1, height, width, model.INPUT_CHANNELS), np.float32)
    variables, rngs = init_from.shapes(model), {"dropout": jax.random.key(0)}
    for index, phase in enumerate(config.phases):
        apply = functools.partial(
            model.apply, train=phase.train, rngs=rngs, mutable=["batch_stats", "auxiliary"]
        )
        try:
            jax.eval_shape(apply, variables, image)
        except ValueError as error:
            raise experiment.ConfigError(
                f"config.data.batch_size=1 with config.phases[{index}].train={phase.train}: {error}"
            ) from None


def _check_auxiliary(config: Experiment, model: Any) -> None:
    """Refuses an auxiliary head that no phase trains: it would cost memory for nothing."""
    for part in model.PARTS:
        trained = any(parts.covers(phase.train, part) for phase in config.phases)
        if part.split("/")[-1] == "auxiliary" and not trained:
            raise experiment.ConfigError(
                f"config.model has auxiliary=True, but no phase trains the part {part!r}; name it "
                "in the train of a phase, or set auxiliary=False"
            )


def _check_frozen_trunk(config: Experiment, model: Any) -> None:
    """Refuses a trunk of random values that no phase trains."""
    trained = [part for phase in config.phases for part in phase.train]
    trains_it = any(part.split("/")[0] == "trunk" for part in trained)
    if "trunk" in model.PARTS and not trains_it and not config.init_from:
        raise experiment.ConfigError(
            "config.init_from is empty, but no phase trains the part 'trunk': pass a workdir or a "
            "file of weights, such as --config.init_from=FILE"
        )
