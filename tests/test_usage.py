import pathlib

import pytest

from psp_jax import usage
from psp_jax.io import dataclass_fields
from tests.test_configs import EVERY, module_of


@EVERY
def test_every_field_of_a_config_is_described(path):
    fields = list(dataclass_fields.fields(module_of(path).get_config(), "config"))
    assert len(fields) > 40
    assert not [field.name for field in fields if not field.description]


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("batch_size", "--config.data.batch_size"),
        ("config.learning_rate", "--config.phases[0].learning_rate"),
        ("lr", "--config.phases[0].learning_rate"),
        ("config.model.batchsize", "--config.data.batch_size"),
        ("xyz", None),
    ],
)
def test_a_wrong_name_suggests_the_flag_of_a_field(tiny, name, flag):
    assert usage.suggestion(name, tiny) == flag


def test_only_equal_names_are_as_similar_as_can_be(tiny):
    assert usage.suggestion("batch_size", tiny, similarity=1) == "--config.data.batch_size"
    assert usage.suggestion("batchsize", tiny, similarity=1) is None


def test_a_missing_file_suggests_near_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("configs").mkdir()
    for name in ("depth_mse", "frontier_edges", "two_phase"):
        pathlib.Path(f"configs/{name}.py").touch()
    assert usage.near_files("depth_mse.py") == ["configs/depth_mse.py"]
    assert usage.near_files("configs/frontier_edge") == ["configs/frontier_edges.py"]
    assert usage.near_files("nowhere/xyz.py") == []
