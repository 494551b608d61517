import os
import pathlib
import subprocess

import pytest

from tests.test_launch import FAKE

SCRIPT = pathlib.Path(__file__).parents[1] / "launch" / "sweep.sh"


@pytest.fixture
def checkout(tmp_path):
    for folder in ("launch", "configs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "launch" / SCRIPT.name).write_text(SCRIPT.read_text())
    (tmp_path / "configs" / "depth.py").touch()
    fake = tmp_path / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    return tmp_path


def sweep(checkout, *arguments, fail="", status=1):
    environment = os.environ | {"PYTHON": str(checkout / "python"), "FAIL": fail}
    return subprocess.run(
        ["bash", checkout / "launch" / SCRIPT.name, *arguments],
        capture_output=True,
        text=True,
        env=environment | {"STATUS": str(status)},
    )


def called(done):
    return [line for line in done.stdout.splitlines() if line.startswith("called")]


GRID = (
    "configs/depth.py",
    "--seeds=2",
    "--set",
    "config.data.batch_size=4,8",
    "--config.pictures=3",
)


def test_every_seed_and_value_runs_once_and_all_are_reported(checkout):
    first = sweep(checkout, *GRID, fail="runs/sweep/depth-batch_size=8-0")
    assert first.returncode == 1 and "1 of 4 runs failed" in first.stderr
    *commands, report = called(first)
    flags = {(c.split("config.seed=")[1][0], c.split("batch_size=")[1][0]) for c in commands}
    assert flags == {(seed, size) for seed in "01" for size in "48"}
    assert all("--config.pictures=3" in command for command in commands)
    assert report.count("runs/sweep/depth-batch_size=") == 4
    second = sweep(checkout, *GRID)
    assert second.returncode == 0 and len(called(second)) == 2  # The failed run and the report.


def test_an_interruption_ends_the_sweep(checkout):
    done = sweep(checkout, *GRID, fail="runs/sweep/depth-batch_size=4-1", status=143)
    assert done.returncode == 143 and len(called(done)) == 2


def test_on_slurm_every_combination_of_values_is_an_array(checkout):
    done = sweep(checkout, "--slurm", "--dry_run", "--name=sizes", *GRID)
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == [
        "--job-name=sizes-batch_size=4",
        "--job-name=sizes-batch_size=8",
    ]
    assert all("--array=0-1 launch/slurm_sweep.sbatch configs/depth.py" in line for line in lines)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "expected a config"),
        (("configs/none.py",), "no file configs/none.py"),
        (("configs/depth.py", "--seeds=x"), "got 'x'"),
        (("configs/depth.py", "--set", "batch_size=4"), "got 'batch_size=4'"),
    ],
)
def test_wrong_arguments_are_refused(checkout, arguments, message):
    done = sweep(checkout, *arguments)
    assert done.returncode == 2 and message in done.stderr
