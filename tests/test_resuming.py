"""Finished, damaged, extended and changed runs, all copies of one tiny run."""

import copy
import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest

from benchmarks import damage
from psp_jax import checkpoints, experiment, train
from psp_jax.runtime import metric_log
from tests import programs

CONFIG = "from psp_jax import experiment\ndef get_config():\n    return experiment.load({!r})\n"


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of the finished run that a test may damage."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def main(config, workdir, *flags):
    """Runs the program and returns its status."""
    folder = workdir.parent / "config"
    folder.mkdir(exist_ok=True)
    experiment.save(config, folder)
    (folder / "config.py").write_text(CONFIG.format(str(folder)))
    return programs.train(f"--config={folder / 'config.py'}", f"--workdir={workdir}", *flags)


def records_of(workdir, name="metrics.jsonl"):
    return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


def spoil(workdir, step, *, item="variables"):
    path = workdir / "checkpoints" / str(step) / item / "manifest.ocdbt"
    damage.flip(path, np.random.default_rng(0))


def test_a_damaged_run_is_not_trained_again_without_being_asked(
    trained, finished, capsys, without_report
):
    _, config, state = trained
    spoil(finished, 16)
    before = damage.contents(finished)
    assert main(config, finished) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    for each in ("step 16: variables/manifest.ocdbt", "step 15: intact", "--resume_from=15"):
        assert each in error
    assert damage.contents(finished) == before
    assert main(config, finished, "--resume_from=15") == 0
    assert (finished / "unused_checkpoints" / "16").is_dir()
    variables = checkpoints.load_variables(finished)
    jax.tree.map(np.testing.assert_array_equal, variables, state.variables)
    assert records_of(finished, "metrics-2.jsonl") == records_of(trained[0])
    assert [r["step"] for r in records_of(finished)] == [4, 6, 8, 12, 16]


def test_scratch_is_offered_where_no_step_is_intact(trained, finished):
    for step in checkpoints.saved_steps.steps_of(finished / "checkpoints"):
        spoil(finished, step)
    with pytest.raises(OSError, match="step 16: .*step 15: variables.*--resume_from=0"):
        train.run(trained[1], str(finished))


@pytest.mark.parametrize("remains", ["nothing", "an empty folder", "a stray file"])
def test_a_finished_run_without_checkpoints_is_not_trained_again(trained, finished, remains):
    shutil.rmtree(finished / "checkpoints")
    if remains != "nothing":
        (finished / "checkpoints" / "16").mkdir(parents=True)
    if remains == "a stray file":
        (finished / "checkpoints" / "16" / "Thumbs.db").touch()
    before = damage.contents(finished)
    with pytest.raises(OSError, match="checkpoints/ is gone.*--resume_from=0"):
        train.run(trained[1], str(finished))
    assert damage.contents(finished) == before


def test_from_scratch_the_old_log_is_kept(trained, finished, without_report):
    _, config, state = trained
    for step in checkpoints.saved_steps.steps_of(finished / "checkpoints"):
        spoil(finished, step)
    again = train.run(config, str(finished), resume_from=0)
    jax.tree.map(np.testing.assert_array_equal, again.variables, state.variables)
    assert {path.name for path in (finished / "unused_checkpoints").iterdir()} >= {"15", "16"}
    assert records_of(finished, "metrics-2.jsonl") == records_of(trained[0])


def test_a_finished_run_needs_no_optimizer(trained, finished, capsys, without_report):
    spoil(finished, 16, item="optimizer")
    again = train.run(trained[1], str(finished))
    assert int(again.step) == 16
    assert "the optimizer is damaged, but not needed" in capsys.readouterr().out
    longer = extended(trained[1], steps=14)
    with pytest.raises(OSError, match="step 16: optimizer/manifest.ocdbt"):
        train.run(longer, str(finished))


def extended(config, **fields):
    """Changes the last phase."""
    first, last = config.phases
    return dataclasses.replace(config, phases=(first, dataclasses.replace(last, **fields)))


def test_a_finished_run_is_extended_by_steps_and_by_a_phase(
    trained, finished, capsys, without_report
):
    _, config, state = trained
    longer = extended(config, steps=12)
    longer.phases += (experiment.Phase(steps=2, train=("classifier",)),)
    after = train.run(longer, str(finished))
    assert int(after.step) == 20
    output = capsys.readouterr().out
    assert "phases.1.steps: 10 -> 12" in output and "phases.2.steps: None -> 2" in output
    assert experiment.load(finished) == longer
    assert json.loads((finished / "config-2.json").read_text())["phases"][1]["steps"] == 10
    assert records_of(finished)[:5] == records_of(trained[0])
    assert [r["step"] for r in records_of(finished)[5:]] == [18, 20]
    kernel = state.params["trunk"]["stem"]["conv1"]["kernel"]
    assert (after.params["trunk"]["stem"]["conv1"]["kernel"] != kernel).any()


def changed(config, name, value):
    """Returns a copy with another value of a field, such as `data.threads`."""
    config = copy.deepcopy(config)
    owner = config
    *parents, field = re.findall(r"\w+", name)
    for each in parents:
        owner = owner[int(each)] if each.isdecimal() else getattr(owner, each)
    setattr(owner, field, value)
    return config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.threads", 5),
        ("data.skip_damaged", True),
        ("name", "renamed"),
        ("pictures", 4),
        ("validate_every", 2),
        ("checkpoint_every", 100),
        ("keep_checkpoints", 9),
        ("phases.1.steps", 11),
    ],
)
def test_fields_that_do_not_alter_what_was_trained_may_change(trained, name, value):
    train.check(changed(trained[1], name, value), str(trained[0]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1),
        ("data.batch_size", 2),
        ("data.flip_probability", 0.1),
        ("data.train_fraction", 0.5),
        ("data.max_depth_m", 5.0),
        ("model.trunk.width", 8),
        ("objective.center_m", 2.0),
        ("phases.0.steps", 7),
        ("phases.1.steps", 9),
        ("phases.1.learning_rate", 1.0),
        ("phases.1.train", ("classifier",)),
    ],
)
def test_fields_that_alter_what_was_trained_are_refused_by_name(trained, name, value):
    with pytest.raises(ValueError, match=f"another experiment .{name}"):
        train.check(changed(trained[1], name, value), str(trained[0]))


def test_anything_may_change_before_the_first_step(tiny, tmp_path):
    experiment.save(tiny, tmp_path)
    train.check(changed(tiny, "seed", 3), str(tmp_path))


def test_the_phases_after_the_trained_ones_are_free(trained, tmp_path):
    _, config, state = trained
    experiment.save(config, tmp_path)
    with checkpoints.Store(tmp_path, keep=1) as store:
        store.save(dataclasses.replace(state, step=np.int32(6)))
    train.check(extended(config, learning_rate=0.1), str(tmp_path))
    train.check(dataclasses.replace(config, phases=config.phases[:1]), str(tmp_path))
    with pytest.raises(ValueError, match=r"phases\.0\.steps"):
        train.check(changed(config, "phases.0.steps", 5), str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\0" * 99, b'{"step": "x"}\n', b"[]\n{}\n", None])
def test_a_damaged_log_has_no_records_and_is_kept(tmp_path, content):
    path = tmp_path / metric_log.METRICS_FILE
    if content is not None:
        path.write_bytes(content)
    assert metric_log.MetricLog(tmp_path, 16).records == []
    if content:
        assert (tmp_path / "metrics-2.jsonl").read_bytes() == content


def test_a_finished_run_whose_log_is_damaged_is_reported_again(trained, finished, capsys):
    (finished / metric_log.METRICS_FILE).write_bytes(b"[]\n{}\n")
    (finished / "test.json").unlink()
    train.run(trained[1], str(finished))
    assert "no curves are drawn" in capsys.readouterr().out
    assert (finished / "test.json").exists()
