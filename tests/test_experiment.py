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


def test_fields_newer_than_a_workdir_have_their_defaults_there(tmp_path, tiny):
    experiment.save(tiny, tmp_path)
    path = tmp_path / "config.json"
    text = json.loads(path.read_text())
    for phase in text["phases"]:
        del phase["optimizer"], phase["lr_multipliers"]
    path.write_text(json.dumps(text))
    assert experiment.load(tmp_path) == tiny
    assert experiment.differences(tiny, tmp_path) == []


def test_fields_of_a_phase_survive_their_text_form(tmp_path, tiny):
    tiny.phases[1].lr_multipliers = {"head": 10.0, "trunk/stem": 0.5}
    tiny.phases[1].schedule = experiment.Schedule.POLY
    tiny.phases[1].optimizer = experiment.Optimizer.SGD
    experiment.save(tiny, tmp_path)
    assert experiment.load(tmp_path) == tiny
    assert experiment.differences(tiny, tmp_path) == []
    other = dataclasses.replace(tiny.phases[1], lr_multipliers={"head": 5.0, "trunk/stem": 0.5})
    changed = dataclasses.replace(tiny, phases=(tiny.phases[0], other))
    assert experiment.differences(changed, tmp_path) == [
        "phases.1.lr_multipliers.head: 10.0 -> 5.0"
    ]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        experiment.load(tmp_path)


def test_a_config_file_cannot_name_foreign_classes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"type": "subprocess.Popen", "args": "true"}))
    with pytest.raises(ValueError, match=r"subprocess\.Popen"):
        experiment.load(tmp_path)
    (tmp_path / "config.json").write_text('{"args": "true"}')
    with pytest.raises(ValueError, match="expected an Experiment, got dict"):
        experiment.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: setattr(e, "phases", ()), r"config\.phases"),
        (lambda e: setattr(e.phases[0], "steps", 0), r"phases\[0\]\.steps=0"),
        (lambda e: setattr(e.phases[1], "learning_rate", -1.0), r"phases\[1\]\.learning_rate=-1"),
        (lambda e: setattr(e.phases[1], "warmup_steps", 10), "warmup_steps=10"),
        (
            lambda e: setattr(e.phases[1], "schedule", "step"),
            r"schedule=step: expected one of cosine, poly",
        ),
        (
            lambda e: setattr(e.phases[0], "schedule", "poly"),
            r"phases\[0\]\.final_lr_fraction=1.0: expected less",
        ),
        (lambda e: setattr(e.phases[1], "power", 0.0), "power=0.0"),
        (
            lambda e: setattr(e.phases[1], "optimizer", "lamb"),
            "optimizer=lamb: expected one of adam, sgd",
        ),
        (lambda e: setattr(e.phases[1], "momentum", 1.0), "momentum=1.0"),
        (lambda e: setattr(e.phases[1], "weight_decay", -1e-4), "weight_decay=-0.0001"),
        (
            lambda e: setattr(e.phases[1], "lr_multipliers", {"head": 0}),
            r"lr_multipliers={'head': 0}",
        ),
        (
            lambda e: setattr(e.phases[1], "lr_multipliers", {"head": "x"}),
            "positive numbers by part",
        ),
        (lambda e: setattr(e.phases[1], "lr_multipliers", ("head", 2)), "lr_multipliers=.*a dict"),
        (lambda e: setattr(e.phases[0], "accumulate", 0), r"phases\[0\]\.accumulate=0"),
        (lambda e: setattr(e.phases[0], "ema_decay", 1.0), "ema_decay=1.0"),
        (lambda e: setattr(e.phases[0], "skip_nonfinite", -1), "skip_nonfinite=-1"),
        (lambda e: setattr(e.data, "batch_size", 0), "batch_size=0"),
        (lambda e: setattr(e.data, "flip_probability", 2.0), "flip_probability=2"),
        (lambda e: setattr(e, "seed", -1), "seed=-1"),
        (lambda e: setattr(e.objective, "scale_m", 0.0), "scale_m=0"),
        (lambda e: setattr(e.model.trunk, "layers", 7), "layers=7"),
    ],
)
def test_values_that_no_run_can_have_are_refused_by_name(tiny, change, message):
    change(tiny)
    with pytest.raises(ValueError, match=message):
        experiment.check(tiny)
