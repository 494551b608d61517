import csv

import numpy as np
import pytest

from psp_jax.evaluation import tables


def test_the_csv_file_has_a_row_per_image_with_a_metric_and_leaves_gaps_empty(tmp_path):
    path = tmp_path / "images.csv"
    places = {"scene": ["a, b", "c", "d"], "frame": [3, 30, 31]}
    nan = np.nan
    columns = {"rmse_m": np.array([0.123456789, nan, nan]), "ari": np.array([0.5, 1.0, nan])}
    tables.write_images(path, places, columns)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"scene": "a, b", "frame": "3", "rmse_m": "0.123457", "ari": "0.5"},
        {"scene": "c", "frame": "30", "rmse_m": "", "ari": "1"},
    ]
    with pytest.raises(ValueError, match="argument"):
        tables.write_images(path, {"a": [1, 2]}, {"b": np.ones(1)})
    assert len(path.read_text().splitlines()) == 3
