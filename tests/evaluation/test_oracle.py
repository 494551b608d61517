import numpy as np
import pytest

from psp_jax import data, init_from, objectives
from psp_jax.evaluation import oracle, tables

SIZE = (48, 64)


def records_of(*classes):
    """Records of a prepared data set with these classes everywhere."""
    return [
        {
            "image": np.zeros((*SIZE, 3), np.uint8),
            "depth": np.full(SIZE, 1000, np.uint16),
            "filled": np.zeros(SIZE, bool),
            "frontier_seeds": np.broadcast_to(each, SIZE).astype(np.uint8),
        }
        for each in classes
    ]


@pytest.fixture
def measured(tiny):
    tiny.objective, tiny.data.batch_size = objectives.FrontierSoftmax(), 2
    model = tiny.model.make(tiny.objective.channels)
    variables = init_from.shapes(model)

    def measure(records):
        images = [data.example_of(record, tiny.data) for record in records]
        return oracle.measure(tiny, model, variables, images)

    return measure


def test_outputs_at_an_eighth_express_areas_but_no_classes_of_single_pixels(measured):
    rows, columns = np.indices(SIZE)
    halves = np.where(columns < 32, 0, 5)
    areas = measured(records_of(halves, halves[:, ::-1]))
    assert areas["grid"] == [6, 8] and areas["images"] == 2
    assert areas["accuracy"] > 0.98 and areas["interior_share"] == 0.5
    # Neighbours differ everywhere, which no output interpolated over 9 pixels can follow.
    chess = measured(records_of(4 * ((rows + columns) % 2), 4 * ((rows + columns + 1) % 2)))
    assert 0.4 < chess["accuracy"] < 0.6
    result = {
        **areas,
        "split": "test",
        "spaces": 3,
        "intervals": {name: (value, value) for name, value in areas.items()},
        "baselines": {"always_interior": areas},
        "parts_before_joint_training": None,
        "oracle": chess,
    }
    lines = tables.class_table(result)
    (line,) = [line for line in lines if line.startswith("oracle***")]
    assert line.split()[1] == f"{chess['accuracy']:.4f}"
    assert any("*** 6x8 outputs" in line for line in lines)
