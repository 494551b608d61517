import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from data_builders import sources
from psp_jax import augment, checkpoints, data, experiment, state, train
from psp_jax.evaluation import scoring, tables
from psp_jax.models import resnet, unet
from psp_jax.runtime import goodput, lock, mesh, metric_log, session
from tests.experiments import make_tiny

PROGRAM = """
import sys
from psp_jax import experiment, train
train.run(experiment.load(sys.argv[1]), sys.argv[2])
"""


def figures_of(workdir):
    return json.loads((workdir / "test.json").read_text())


def records_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_config_figures_pictures_and_checkpoints(trained):
    workdir, config, state = trained
    assert int(state.step) == sum(phase.steps for phase in config.phases)
    assert experiment.load(workdir) == config
    for name in ("curves.png", "test.png"):
        assert (workdir / name).read_bytes().startswith(b"\x89PNG")
    (events,) = (workdir / "tensorboard").iterdir()
    sheets = sorted(path.name for path in (workdir / "validation").iterdir())
    assert sheets == [f"{step:06}_depth.png" for step in (4, 6, 8, 12, 16)]
    for tag in (b"validation_depth", b"learning_rate", b"gradient_norm", b"data_wait"):
        assert tag in events.read_bytes()
    result = figures_of(workdir)
    names = {"rmse_m", "abs_rel", "delta1", "mad_levels", "silog", "rmse_m_affine", "boundary_f1"}
    assert names | {"max_depth_m", "images", "baselines"} <= result.keys()
    assert result["max_depth_m"] == 10.0
    assert result["images"] == len(data.open_splits(config.data.source.prepare())["test"])
    for baseline in ("constant", "mean_image"):
        assert names <= result["baselines"][baseline].keys()
    variables = checkpoints.load_variables(workdir)
    jax.tree.map(np.testing.assert_array_equal, variables, state.variables)
    spent = json.loads((workdir / goodput.FILE).read_text())
    assert spent["sessions"] >= 1 and spent["unsaved"] == 0 == spent["seconds"]["lost"]
    assert all(spent["seconds"][name] > 0 for name in goodput.ACTIVITIES if name != goodput.LOST)
    assert (workdir / lock.FILE).read_text() == ""


def test_a_run_leaves_the_figures_of_every_test_image_and_says_how_sure_their_means_are(trained):
    workdir, config, _ = trained
    result = figures_of(workdir)
    with (workdir / "test_images.csv").open() as file:
        rows = list(csv.DictReader(file))
    examples = data.open_splits(config.data.source.prepare())["test"]
    assert len(rows) == result["images"] == len(examples)
    for index, row in enumerate(rows):
        example = examples[index]
        assert row["scene_id"] == example["scene_id"].decode()
        assert int(row["frame_index"]) == example["frame_index"]
    assert result["spaces"] == len({row["space_id"] for row in rows})
    for name, (low, high) in result["intervals"].items():
        values = [float(row[name]) for row in rows if row[name]]
        np.testing.assert_allclose(result[name], np.mean(values), rtol=1e-4)
        assert low <= result[name] <= high
    table = tables.depth_table(result)[1:]
    assert f"{result['spaces']} spaces" in table[0]
    assert f"{result['rmse_m']:.3f}" in table[1] and f"{result['abs_rel']:.3f}" in table[1]
    assert f"{result['intervals']['rmse_m'][0]:.3f}" in table[2]
    assert any("255 levels are 10.0 m" in line for line in table)


def test_every_validation_and_every_phase_end_writes_one_line(trained):
    workdir, config, _ = trained
    assert config.validate_every == 4
    assert [record["step"] for record in records_of(workdir)] == [4, 6, 8, 12, 16]
    for record in records_of(workdir):
        assert np.isfinite(list(record.values())).all()


def test_the_same_command_on_a_finished_run_only_prints_the_table_again(trained, capsys):
    workdir, config, state = trained
    before = figures_of(workdir)
    again = train.run(config, str(workdir))
    jax.tree.map(np.testing.assert_array_equal, again.variables, state.variables)
    assert figures_of(workdir) == before
    assert "constant (training mean)" in capsys.readouterr().out


def test_baselines_are_the_mean_depth_of_the_training_set(trained):
    """Computed again here from the records themselves."""
    workdir, config, _ = trained
    splits = data.open_splits(config.data.source.prepare())
    depth = {
        name: np.stack([data.example_of(examples[i], config.data).depth
                        for i in range(len(examples))])
        for name, examples in splits.items()
    }  # fmt: skip
    known = depth["train"] > 0
    constant = depth["train"][known].mean(dtype=np.float64)
    test_known = depth["test"] > 0
    squared = np.where(test_known, (depth["test"] - constant) ** 2, 0).sum((1, 2))
    rmse = np.sqrt(squared / test_known.sum((1, 2))).mean()
    result = figures_of(workdir)
    np.testing.assert_allclose(result["baselines"]["constant"]["rmse_m"], rmse, rtol=1e-4)


def wait_for_step(process, workdir, step, limit_s=300):
    """Waits until a checkpoint of at least that step is finished."""
    folder, end = workdir / "checkpoints", time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
        if steps and max(steps) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint of step {step}: {process.communicate()}")


def test_a_killed_run_goes_on_bit_identically(trained, tmp_path, capsys):
    whole, config, _ = trained
    experiment.save(config, tmp_path)
    broken = tmp_path / "broken"
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), str(broken)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_step(process, broken, 9)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (broken / "test.json").exists()
    train.run(config, str(broken))
    assert "resuming" in capsys.readouterr().out
    first, second = (checkpoints.load_variables(workdir) for workdir in (whole, broken))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert figures_of(whole) == figures_of(broken)
    one, other = records_of(whole), records_of(broken)
    assert [r["step"] for r in one] == [r["step"] for r in other]
    assert [r["validation_loss"] for r in one] == [r["validation_loss"] for r in other]


def test_a_batch_that_the_loop_has_not_put_on_the_device_is_no_silent_transfer(
    tmp_path, data_dir, monkeypatch
):
    monkeypatch.setattr(mesh.Mesh, "batch", lambda self, rows: rows)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train.run(make_tiny(data_dir), str(tmp_path / "run"))


def test_training_beats_what_it_started_from(tmp_path, data_dir, without_report, monkeypatch):
    config = make_tiny(data_dir)
    config.model = unet.DepthCNN(width=4, levels=1)
    everything = config.model.make(1).PARTS
    config.phases = (experiment.Phase(steps=40, train=everything, learning_rate=0.01),)
    config.checkpoint_every, config.validate_every = 1000, 10
    monkeypatch.setattr(session.Session, "should_draw", lambda *unused: False)
    train.run(config, str(tmp_path / "run"))
    losses = [record["train_loss"] for record in records_of(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_starts_from_the_variables_of_another(trained, tmp_path, capsys, without_report):
    workdir, config, state = trained
    config = dataclasses.replace(
        config,
        init_from=str(workdir),
        phases=(experiment.Phase(steps=1, train=("classifier",), learning_rate=1e-3),),
    )
    after = train.run(config, str(tmp_path / "run"))
    for part in ("trunk", "pyramid", "head"):
        jax.tree.map(np.testing.assert_array_equal, after.params[part], state.params[part])
    assert f"arrays are from {workdir}" in capsys.readouterr().out


def test_init_from_needs_a_checkpoint_that_fits(trained, tmp_path, data_dir):
    workdir, config, _ = trained
    empty = dataclasses.replace(config, init_from=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        train.check(empty, str(tmp_path / "run"))
    wider = dataclasses.replace(config, init_from=str(workdir))
    wider.model = dataclasses.replace(config.model, trunk=resnet.ResNet(10, width=5))
    wider.objective = dataclasses.replace(config.objective)
    with pytest.raises(experiment.ConfigError, match="width: 4 against 5"):
        train.check(wider, str(tmp_path / "run"))


def test_an_auxiliary_head_that_no_phase_trains_is_refused(tiny, tmp_path):
    tiny.model = dataclasses.replace(tiny.model, auxiliary=True)
    with pytest.raises(experiment.ConfigError, match="auxiliary=True, but no phase trains"):
        train.check(tiny, str(tmp_path))
    tiny.phases[1].train = ("trunk", "head", "auxiliary")
    train.check(tiny, str(tmp_path))


def test_fields_that_do_not_touch_the_training_may_change(trained):
    workdir, config, _ = trained
    data_of = dataclasses.replace(config.data, threads=7)
    train.check(dataclasses.replace(config, data=data_of, pictures=3), str(workdir))


def test_damaged_files_of_a_workdir_are_named(trained, tmp_path):
    _, config, _ = trained
    (tmp_path / "config.json").write_text('{"type": ')
    with pytest.raises(ValueError, match="config.json is damaged"):
        train.check(config, str(tmp_path))
    (tmp_path / "metrics.jsonl").write_bytes(b'\xff\n3\n{"step": 1}\n{"st')
    assert metric_log.MetricLog(tmp_path, 10).records == []


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, data_dir):
    config = make_tiny(data_dir)
    config.model = unet.DepthCNN(width=2, levels=1)
    everything = config.model.make(1).PARTS
    config.phases = (
        experiment.Phase(steps=30, train=everything, learning_rate=1e30, clip_norm=1e30),
    )
    config.checkpoint_every = 1
    examples = data.open_splits(config.data.source.prepare())["train"]
    second = ", ".join(data.origins(examples, config.data, seed=config.seed, step=1))
    with pytest.raises(FloatingPointError) as caught:
        train.run(config, str(tmp_path / "run"))
    assert re.search("(loss|gradient_norm) is (nan|inf).* at step 2, of the", str(caught.value))
    assert second in str(caught.value) and "newest checkpoint is 1" in str(caught.value)
    assert all(
        np.isfinite(x).all() for x in jax.tree.leaves(checkpoints.load_variables(tmp_path / "run"))
    )


def test_interruptions_change_nothing_with_averages_accumulated_batches_and_skipped_steps(
    tiny, tmp_path, monkeypatch, capsys, without_report
):
    """Broken off within a phase, between two, and within the second; one example is no good."""
    tiny.model = unet.DepthCNN(width=2, levels=1)
    tiny.phases = (
        experiment.Phase(steps=4, train=("decoder", "classifier"), ema_decay=0.9, skip_nonfinite=9),
        experiment.Phase(
            steps=8,
            train=tiny.model.make(1).PARTS,
            optimizer=experiment.Optimizer.SGD,
            learning_rate=0.01,
            schedule=experiment.Schedule.POLY,
            final_lr_fraction=0.0,
            accumulate=2,
            ema_decay=0.9,
            skip_nonfinite=9,
        ),
    )
    examples = data.open_splits(tiny.data.source.prepare())["train"]
    batches = [data.origins(examples, tiny.data, seed=0, step=step) for step in range(4 + 2 * 8)]
    bad = batches[1][0]
    taken = batches[:4] + [batches[i] + batches[i + 1] for i in range(4, 20, 2)]
    expected = [step for step, names in enumerate(taken, 1) if bad in names]
    tiny.data.max_depth_m = 1e30
    original, ends = type(examples).__getitem__, []

    def spoiled(self, index):
        record = dict(original(self, index))
        depth = record["depth"] = record["depth"].astype(np.float32)
        if bad == f"{record['scene_id'].decode()} frame {record['frame_index']}":
            depth[5:9] = 1e28  # Its square is infinite.
            record["filled"] = np.zeros_like(record["filled"])
        return record

    def advance(progress, losses):
        ends.append(len(ends) + 1)
        if ends[-1] in breaks:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(type(examples), "__getitem__", spoiled)
    monkeypatch.setattr(metric_log.Progress, "advance", advance)
    whole, broken, breaks = tmp_path / "whole", tmp_path / "broken", ()
    first = train.run(tiny, str(whole))
    said = capsys.readouterr().out
    assert [
        int(step) for step in re.findall(r"skipped: loss is inf at step (\d+),", said)
    ] == expected
    assert said.count(bad) == len(expected) > 1
    assert f"{len(expected)} of 12 steps were skipped" in said
    assert records_of(whole)[-1]["skipped_steps"] == len(expected)
    breaks = (2, 4, 9)
    ends.clear()
    for _ in breaks:
        with pytest.raises(SystemExit, match="143"):
            train.run(tiny, str(broken))
        assert "run the same command to resume" in capsys.readouterr().out
    second = train.run(tiny, str(broken))
    assert len(ends) == 12
    jax.tree.map(np.testing.assert_array_equal, first, second)
    for name in ("step", "validation_loss", "skipped_steps", "learning_rate"):
        assert [r[name] for r in records_of(whole)] == [r[name] for r in records_of(broken)]
    jax.tree.map(np.testing.assert_array_equal, checkpoints.load_variables(broken), first.variables)
    trained = state.trained_of(first, tiny.phases[1].train)
    bias = first.params["classifier"]["bias"]
    assert (trained.params["classifier"]["bias"] != bias).all()


def test_interruptions_change_nothing_with_augmentation_and_validation_has_none(
    tiny, tmp_path, monkeypatch, without_report
):
    tiny.model = unet.DepthCNN(width=2, levels=1)
    train_all = tiny.model.make(1).PARTS
    tiny.phases = (experiment.Phase(steps=4, train=train_all, accumulate=2),)
    plain = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data))
    tiny.data.augmentation = augment.Augmentation()
    ends, breaks = [], ()

    def advance(progress, losses):
        ends.append(len(ends) + 1)
        if ends[-1] in breaks:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(metric_log.Progress, "advance", advance)
    first = train.run(tiny, str(tmp_path / "whole"))
    breaks, broken = (2,), tmp_path / "broken"
    ends.clear()
    with pytest.raises(SystemExit):
        train.run(tiny, str(broken))
    second = train.run(tiny, str(broken))
    assert len(ends) == 4
    jax.tree.map(np.testing.assert_array_equal, first, second)
    model = tiny.model.make(1)
    validation = data.open_splits(tiny.data.source.prepare())["validation"]
    scores = scoring.Evaluator(plain, model, mesh.Mesh())(first.variables, validation)
    assert scores.record()["loss"] == records_of(broken)[-1]["validation_loss"]
    without = train.run(plain, str(tmp_path / "plain"))
    assert (without.params["classifier"]["bias"] != first.params["classifier"]["bias"]).all()


def test_a_workdir_of_another_experiment_is_refused(trained):
    workdir, config, _ = trained
    with pytest.raises(ValueError, match="holds another experiment .seed: 0 -> 3"):
        train.check(dataclasses.replace(config, seed=3), str(workdir))


def test_an_unwritable_workdir_is_refused(tmp_path, data_dir):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="can't be written: Not a directory"):
        train.check(make_tiny(data_dir), str(tmp_path / "file" / "run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_workdir_is_refused(tmp_path, data_dir):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="can't be written: Permission denied"):
        train.check(make_tiny(data_dir), str(tmp_path / "run"))


def test_missing_scannet_names_the_data_set_the_command_and_the_terms(tmp_path, data_dir):
    config = make_tiny(data_dir)
    config.data.source = sources.ScanNet(data_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        train.check(config, str(tmp_path / "run"))
    message = str(caught.value)
    assert "scannet_frontiers/thesis/3.0.0" in message
    assert "python -m data_builders.scannet_frontiers" in message
    assert "http://www.scan-net.org" in message


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [("labels", "superpixels", "data.labels"), ("batch_size", 64, "data.batch_size=64")],
)
def test_an_error_that_only_the_data_set_shows_leaves_the_workdir_free(
    tiny, tmp_path, field, wrong, message
):
    right = getattr(tiny.data, field)
    setattr(tiny.data, field, wrong)
    with pytest.raises(experiment.ConfigError, match=message):
        train.run(tiny, str(tmp_path / "run"))
    setattr(tiny.data, field, right)
    train.check(tiny, str(tmp_path / "run"))
