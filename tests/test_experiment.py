import dataclasses
import json

import pytest

from psp_jax import experiment


def test_an_experiment_survives_its_text_form(tmp_path, tiny):
    experiment.save(tiny, tmp_path)
    assert experiment.load(tmp_path) == tiny
    assert experiment.differences(tiny, tmp_path) == []


def test_differences_name_the_fields(tmp_path, tiny):
    experiment.save(tiny, tmp_path)
    other = dataclasses.replace(tiny, seed=5)
    other.phases = (dataclasses.replace(tiny.phases[0], steps=99), tiny.phases[1])
    assert experiment.differences(other, tmp_path) == ["phases.0.steps: 6 -> 99", "seed: 0 -> 5"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        experiment.load(tmp_path)


def test_a_config_file_cannot_name_foreign_classes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"type": "subprocess.Popen", "args": "true"}))
    with pytest.raises(ValueError, match=r"subprocess\.Popen"):
        experiment.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: setattr(e, "phases", ()), r"config\.phases"),
        (lambda e: setattr(e.phases[0], "steps", 0), r"phases\[0\]\.steps=0"),
        (lambda e: setattr(e.phases[1], "learning_rate", -1.0), r"phases\[1\]\.learning_rate=-1"),
        (lambda e: setattr(e.phases[1], "warmup_steps", 10), "warmup_steps=10"),
        (lambda e: setattr(e.data, "batch_size", 0), "batch_size=0"),
        (lambda e: setattr(e.data, "flip_probability", 2.0), "flip_probability=2"),
        (lambda e: setattr(e, "seed", -1), "seed=-1"),
        (lambda e: setattr(e.objective, "scale_m", 0.0), "scale_m=0"),
        (lambda e: setattr(e.model, "depth", 7), "depth=7"),
    ],
)
def test_values_that_no_run_can_have_are_refused_by_name(tiny, change, message):
    change(tiny)
    with pytest.raises(ValueError, match=message):
        experiment.check(tiny)
