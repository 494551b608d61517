import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "launch" / "thesis_rooms.sh"
CONFIGS = {path.stem for path in (ROOT / "configs").glob("*.py")}

# Stands for Python: a run is finished at once, but for those named by FAIL, and the report is said.
FAKE = """#!/usr/bin/env bash
for argument in "$@"; do [[ $argument == --workdir=* ]] && workdir=${argument#--workdir=}; done
echo "called $*"
[[ -n ${workdir:-} ]] || exit 0
[[ $workdir != "$FAIL" ]] || exit "$STATUS"
mkdir -p "$workdir"; touch "$workdir/test.json"
"""


def commands_of(text):
    return [line.split() for line in text.splitlines() if "psp_jax.main" in line]


def test_a_dry_run_prints_a_run_of_every_config_after_those_it_starts_from():
    done = subprocess.run(
        [SCRIPT, "--dry_run", "--config.seed=3"], capture_output=True, text=True, check=True
    )
    commands = commands_of(done.stdout)
    names = [
        command[3].removeprefix("--config=configs/").removesuffix(".py") for command in commands
    ]
    assert set(names) == CONFIGS
    for name in CONFIGS:
        text = (ROOT / "configs" / f"{name}.py").read_text()
        for donor in CONFIGS:
            if f"runs/{donor}" in text.partition('"""\n\n')[2]:
                assert names.index(donor) < names.index(name)
    workdirs = [command[4].removeprefix("--workdir=") for command in commands]
    assert len(set(workdirs)) == len(workdirs) > len(CONFIGS)
    assert all("--config.seed=3" in command for command in commands)
    assert done.stdout.splitlines()[-1].split()[1:] == ["-m", "psp_jax.report", *workdirs]


@pytest.fixture
def checkout(tmp_path):
    """The script and the names of the configs in a folder where runs may be left."""
    for folder in ("launch", "configs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "launch" / SCRIPT.name).write_text(SCRIPT.read_text())
    for name in CONFIGS | {"brand_new"}:
        (tmp_path / "configs" / f"{name}.py").touch()
    fake = tmp_path / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    return tmp_path


def launch(checkout, fail="", status=1):
    environment = os.environ | {
        "PYTHON": str(checkout / "python"),
        "FAIL": fail,
        "STATUS": str(status),
    }
    return subprocess.run(
        ["bash", checkout / "launch" / SCRIPT.name], capture_output=True, text=True, env=environment
    )


def called(done):
    return [line for line in done.stdout.splitlines() if line.startswith("called")]


def test_finished_runs_are_not_done_again_and_failed_ones_are(checkout):
    first = launch(checkout, fail="runs/depth_ce")
    assert first.returncode == 1 and first.stderr.endswith("runs failed: depth_ce\n")
    assert "runs/brand_new" in first.stdout
    second = launch(checkout)
    assert second.returncode == 0 and "runs/depth_mse is finished" in second.stdout
    run, report = called(second)
    assert "--workdir=runs/depth_ce" in run and "psp_jax.report runs/depth_mse" in report
    assert len(called(first)) == len(second.stdout.split("is finished")) + 1


def test_an_interruption_ends_all(checkout):
    done = launch(checkout, fail="runs/depth_to_frontier", status=143)
    assert done.returncode == 143
    assert len(called(done)) == 2


def test_an_unknown_argument_is_refused():
    done = subprocess.run([SCRIPT, "runs"], capture_output=True, text=True)
    assert done.returncode == 2 and "unexpected argument 'runs'" in done.stderr
