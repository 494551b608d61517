import io

import jax
import numpy as np
import PIL.Image
import pytest

from psp_jax import checkpoints, data, experiment
from psp_jax.evaluation import validation_sheets


@pytest.mark.parametrize("run, name", [("depth_run", "depth"), ("edges_run", "frontiers")])
def test_the_same_images_are_drawn_again_and_another_network_differs(run, name, request):
    folder = request.getfixturevalue(run)
    config = experiment.load(folder)
    examples = data.open_splits(config.data.source.prepare())["validation"]
    sheets = validation_sheets.ValidationSheets(
        config, config.model.make(config.objective.channels), examples
    )
    variables = checkpoints.load_variables(folder)
    (drawn,) = sheets.draw(variables).values()
    assert sheets.draw(variables) == {name: drawn}
    moved = {**variables, "params": jax.tree.map(lambda x: x + 0.1, variables["params"])}
    (other,) = sheets.draw(moved).values()
    first, second = (np.asarray(PIL.Image.open(io.BytesIO(each))) for each in (drawn, other))
    assert first.shape == second.shape and (first != second).any()
    rgb = slice(0, first.shape[1] // 5)  # Photographs stay the same.
    np.testing.assert_array_equal(first[:, rgb], second[:, rgb])
