import json
import pathlib
import subprocess
import sys

import pytest

from psp_jax import experiment
from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = f"--config={ROOT / 'configs' / 'depth_mse.py'}"
SMALL = (CONFIG, "--config.model.trunk.layers=10", "--config.model.trunk.width=4")


def main(*arguments, cwd):
    """Runs the program in another process."""
    command = [sys.executable, "-m", "psp_jax.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([CONFIG, "--config.sead=3"], "no field 'sead'; did you mean 'seed'?"),
        ([CONFIG, "--config.objective.center=3"], "DepthMSE has no field 'center'; did you mean"),
        ([CONFIG, "--config.phases[0].step=3"], "Phase has no field 'step'; did you mean 'steps'?"),
        ([CONFIG, "--config.phases[4].steps=3"], "phases[4]"),
        ([CONFIG, "--config.seed=many"], "--config.seed=many: expected an integer"),
        ([CONFIG, "--config.phases[0].schedule=step"], "--config.phases[0].schedule=step"),
        (
            [CONFIG, "--config.phases[0].lr_multipliers=head"],
            "expected a dict",
        ),
        ([CONFIG, "--confg.seed=3"], "confg.seed"),
        ([CONFIG, "--config.objective=l1"], "--config.objective is an object"),
        ([CONFIG, "--config.model=resnet"], "--config.model is an object"),
        ([CONFIG, "--config.phases[0]=5"], "such as --config.phases[0].steps=VALUE"),
        ([CONFIG, "--config.data=rooms"], "--config.data is an object"),
        ([CONFIG, "--config.phases.0.steps=5"], "in brackets: --config.phases[0].steps=5"),
        ([CONFIG, "--config.seed.x=5"], "no field seed.x"),
        ([f"--config={ROOT / 'setup.py'}x"], "there is no file"),
        ([f"--config={ROOT / 'psp_jax' / 'batch.py'}"], "no function get_config()"),
        ([f"--config={ROOT / 'README.md'}"], "README.md"),
        ([*SMALL, "--config.data.batch_size=1"], "batch_size=1 with config.phases[0].train"),
        (
            [*SMALL, "--config.data.batch_size=1", "--config.phases[0].accumulate=4"],
            "use a batch of at least 2",
        ),
        ([CONFIG, "--resume_from=-1"], "resume_from"),
        ([f"{CONFIG}:kitchen"], "error: variant: expected one of rooms, scannet"),
        (["--config=nowhere.py"], "nowhere.py"),
        ([f"--config={ROOT / 'configs' / 'deph_mse.py'}"], "did you mean "),
        ([CONFIG, "--batch_size=3"], "did you mean --config.data.batch_size?"),
        ([CONFIG, "--config.lr=3"], "did you mean --config.phases[0].learning_rate?"),
        ([CONFIG, "--dry_run=inputs.txt"], "--dry_run=inputs.txt: expected the name of a PNG file"),
        ([], "expected --config=FILE"),
        ([CONFIG, "--num_processes=2", "--process_id=0"], "expected all three or none"),
        ([CONFIG, "fast"], "unexpected argument 'fast'"),
        ([CONFIG, "--config.data.batch_size=0"], "config.data.batch_size=0: expected at least 1"),
        ([CONFIG, "--workdir=/proc/run"], "workdir /proc/run can't be written"),
        ([f"{CONFIG}:scannet"], "scannet_frontiers/thesis/3.0.0 is not in data"),
    ],
)
def test_what_is_wrong_with_the_command_is_said_in_one_line_before_any_work(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    status, error = programs.train(*arguments), capsys.readouterr().err
    lines = error.strip().splitlines()
    assert status == 2 and len(lines) == 1 and lines[0].startswith("error: "), error
    assert message in lines[0]
    assert not (tmp_path / "data" / "rooms").exists()


def test_a_printed_config_is_that_of_a_workdir_which_refuses_another(tmp_path, monkeypatch, capsys):
    done = main(CONFIG, "--config.seed=3", "--print_config", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "run" / "checkpoints" / "1" / "variables").mkdir(parents=True)
    (tmp_path / "run" / experiment.CONFIG_FILE).write_text(done.stdout)
    assert experiment.load(tmp_path / "run").seed == 3
    monkeypatch.chdir(tmp_path)
    assert programs.train(CONFIG, "--workdir=run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds another experiment" in line


def test_help_names_the_flags(tmp_path):
    done = main("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--config" in done.stdout and "--workdir" in done.stdout
    assert "Trains an experiment" in done.stdout


def test_help_lists_the_fields_of_a_config(tmp_path):
    done = main(CONFIG, "--config.data.batch_size=3", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    index = lines.index("--config.data.batch_size (int, at least 1; 3)")
    assert lines[index + 1] == "images per step."
    assert "--config.phases[0].schedule (cosine|poly|constant; cosine)" in lines
    assert any(line.startswith("--workdir:") for line in lines)


def test_the_help_of_a_config_may_be_read_in_part(tmp_path):
    command = [sys.executable, "-m", "psp_jax.main", CONFIG, "--help"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()  # As `head` does.
        assert b"Traceback" not in program.stderr.read()


def test_the_main_job_runs_from_nothing_to_the_table_on_small_rooms(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status = programs.train(
        *SMALL,
        "--config.phases[0].steps=12",
        "--config.phases[0].warmup_steps=2",
        "--config.phases[0].schedule=poly",
        "--config.phases[0].lr_multipliers={'head': 10}",
        "--config.data.batch_size=4",
        "--config.data.source.rooms.spaces=9",
        "--config.data.source.rooms.frames_per_scan=3",
        "--config.data.source.rooms.depth_height=48",
        "--config.data.source.rooms.depth_width=64",
    )
    assert status == 0
    shown = capsys.readouterr().out
    assert "left out, no depth at all: scene9000_00 frame 2" in shown
    assert "left out, invalid pose: scene9001_00 frame 2" in shown
    assert "trained" in shown and "GFLOP" in shown and "MiB" in shown
    assert "mean depth image" in shown
    result = json.loads((tmp_path / "runs" / "depth_mse" / "test.json").read_text())
    assert 0 < result["rmse_m"] < 10
    (drawn,) = (tmp_path / "data").glob("rooms_*/rooms.json")
    assert json.loads(drawn.read_text())["spaces"] == 9
    (phase,) = experiment.load(tmp_path / "runs" / "depth_mse").phases
    assert (phase.schedule, phase.lr_multipliers) == (experiment.Schedule.POLY, {"head": 10})
