import itertools
import os

import jax
import numpy as np
import pytest
from matplotlib import image as image_files

from psp_jax import augment, dry_run, experiment
from psp_jax.evaluation import plots
from psp_jax.models import unet
from psp_jax.runtime import session


def test_a_dry_run_describes_every_phase_and_draws_the_first_inputs(
    tiny, tmp_path, capsys, monkeypatch
):
    tiny.data.augmentation = augment.Augmentation()
    tiny.model = unet.DepthCNN(width=2, levels=1)
    parts = tiny.model.make(1).PARTS
    tiny.phases = tuple(
        experiment.Phase(steps=steps, train=train) for steps, train in ((3, parts), (6, parts[1:]))
    )
    drawn, seen, compiled = [], [], []
    draw, loss, compile_step = plots.input_sheet, tiny.objective.loss, session.Session.compile

    def keep(path, batch, count):
        drawn.append(batch)
        draw(path, batch, count)

    def spy(output, batch):  # Called while the step is traced.
        jax.debug.callback(lambda depth: seen.append(depth), batch.depth)
        return loss(output, batch)

    def take_a_step(self, step_fn, state, batches):
        if seen:  # Compiling the second phase would prove nothing more.
            return compiled[0], batches
        step, batches = compile_step(self, step_fn, state, batches)
        compiled.append(step)
        first = next(batches)
        step(jax.tree.map(jax.numpy.copy, state), first[1])  # A step reuses the memory.
        jax.effects_barrier()
        return step, itertools.chain([first], batches)

    monkeypatch.setattr(plots, "input_sheet", keep)
    monkeypatch.setattr(tiny.objective, "loss", spy)
    monkeypatch.setattr(session.Session, "compile", take_a_step)
    path = dry_run.run(tiny, tmp_path / "pictures" / "inputs.png")
    np.testing.assert_allclose(drawn[0].depth, seen[0], rtol=1e-6)
    shown = capsys.readouterr().out
    assert "tiny: DepthMSE, 3 steps" in shown and "tiny: DepthMSE, 6 steps" in shown
    assert shown.count("GFLOP/image") == 2 and str(path) in shown
    assert os.listdir(path.parent) == ["inputs.png"]
    assert image_files.imread(path).std() > 0.05


@pytest.mark.parametrize("name", ["inputs.txt", "gs://bucket/inputs.png"])
def test_a_dry_run_needs_the_name_of_a_picture(tiny, name):
    with pytest.raises(ValueError, match=name):
        dry_run.run(tiny, name)
