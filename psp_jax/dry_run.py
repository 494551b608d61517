"""Does everything of a run up to its first step, in a temporary workdir."""

import pathlib
import tempfile
from typing import Any

import jax
import numpy as np

from psp_jax import init_from, phases, steps, train
from psp_jax.batch import Batch
from psp_jax.evaluation import plots
from psp_jax.experiment import Experiment
from psp_jax.io import files
from psp_jax.runtime import compile_cache, summary
from psp_jax.runtime.session import Session


def run(config: Experiment, picture: str | pathlib.Path | None = None) -> pathlib.Path:
    """Prepares the data, compiles the steps of all phases, and draws the inputs of the first step.

    Prints the summary of every phase; nothing is trained.

    Args:
        config: the experiment.
        picture: PNG file of the inputs, which is replaced; None for one in a new temporary folder.

    Returns:
        The file.

    Raises:
        ValueError, OSError: as `train.run`.
    """
    path = _picture(picture)
    if jax.process_count() > 1:
        raise ValueError("--dry_run: expected one process; leave out --distributed")
    with tempfile.TemporaryDirectory(prefix="psp_jax_") as workdir:
        train.check(config, workdir)
        compile_cache.enable()
        with Session(config, workdir) as session:
            splits = train.open_splits(config, session)
            model: Any = config.model.make(config.objective.channels)
            # Nothing is computed with them, so zeros stand for initial values.
            zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), init_from.shapes(model))
            variables, sources = init_from.take(config, model, zeros)
            print("".join(f"{line}\n" for line in sources), end="")
            variables = session.place(variables)
            for span in phases.spans(config):
                current = session.start_phase(span, variables)
                batches = session.batches(splits["train"], span, span.start)
                step = train.make_step(config, span.phase, model)
                step_fn, batches = session.compile(step, current, batches)
                given = (config, span.phase, current, splits, step_fn)
                print(summary.describe(*given), flush=True)
                if span.start == 0:
                    _draw(path, config, next(batches)[1])
    print(f"dry run: nothing is trained or saved; the inputs of the first step are in {path}")
    return path


def _picture(picture: str | pathlib.Path | None) -> pathlib.Path:
    if not picture:
        return pathlib.Path(tempfile.mkdtemp(prefix="psp_jax_")) / "inputs.png"
    path = files.local_path(picture)
    if path.suffix != ".png" or path.is_dir():
        raise ValueError(f"--dry_run={picture}: expected the name of a PNG file, such as a.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _draw(path: pathlib.Path, config: Experiment, batch: Batch) -> None:
    """Draws a batch as the first step sees it: mirrored by the reader, then augmented."""
    key = steps.step_key(config.seed, 0)
    if config.phases[0].accumulate > 1:  # Batches are stacked; the first has its own key.
        batch, key = batch[0], jax.random.fold_in(key, 0)
    augment = train.augmentation(config.data)
    if augment is not None:
        batch = jax.jit(augment)(batch, steps.augmentation_key(key))
    plots.input_sheet(path, jax.tree.map(np.asarray, batch), config.pictures)
