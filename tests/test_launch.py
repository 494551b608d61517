import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "launch" / "thesis_rooms.sh"
# `pretrain.sh` runs the experiment on photographs, which takes hours without a GPU.
CONFIGS = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"photographs"}

# Flags of sbatch, docker, kubectl, pip, sky, Beam's workers, and of the scripts themselves.
FOREIGN = set(
    "array cpus-per-task dependency gpus gpus-per-node job-name nodes ntasks ntasks-per-node "
    "open-mode output requeue signal test-only time file tag filename dry-run dryrun editable "
    "no-cache-dir env service_port small steps name out seeds set slurm".split()
)

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
        config = importlib.import_module(f"configs.{name}").get_config()
        for donor in CONFIGS:
            if f"runs/{donor}" in (config.init_from, *config.init_from_parts.values()):
                assert names.index(donor) < names.index(name)
    workdirs = [command[4].removeprefix("--workdir=") for command in commands]
    assert len(set(workdirs)) == len(workdirs) > len(CONFIGS)
    assert all("--config.seed=3" in command for command in commands)
    assert done.stdout.splitlines()[-1].split()[1:] == ["-m", "psp_jax.report", *workdirs]


@pytest.mark.parametrize(("flags", "variant"), [(["--small"], "rooms"), ([], "large")])
def test_the_shipped_model_is_trained_calibrated_and_exported_once(tmp_path, flags, variant):
    (tmp_path / "launch").mkdir()
    script = tmp_path / "launch" / "pretrain.sh"
    script.write_text((ROOT / "launch" / script.name).read_text())
    (tmp_path / "python").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "python").chmod(0o755)
    environment = {**os.environ, "PYTHON": str(tmp_path / "python")}

    def run():
        command = ["bash", script, *flags, "--config.seed=3"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return [line.split() for line in done.stdout.splitlines()]

    train, calibrate, export = run()
    workdir = f"runs/photographs-{variant}"
    assert train[1] == "psp_jax.main" and train[2:] == [
        f"--config=configs/photographs.py:{variant}",
        f"--workdir={workdir}",
        "--config.seed=3",
    ]
    assert calibrate[1:3] == ["psp_jax.calibrate", f"--workdir={workdir}"]
    assert export[1:] == ["psp_jax.weights", "export", workdir, f"{workdir}/model"]
    (tmp_path / workdir / "model").mkdir(parents=True)
    assert "export" not in run()[-1][:3]


def test_each_run_of_the_ladder_has_its_flags(tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / "launch" / "ladder.sh", "--steps=30", "--config.seed=3"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHON": str(tmp_path / "python")},
    )
    *runs, score = [line.split() for line in done.stdout.splitlines()]
    flags = [set(run[3:]) for run in runs]
    assert all("--config.seed=3" in chosen for chosen in flags)
    changed = [chosen - {"--config.init_from="} for chosen in flags[:4]]
    assert len(changed[0]) > len(changed[1]) > len(changed[2]) > len(changed[3])
    assert score[2:] == [run[3].removeprefix("--workdir=") for run in runs]


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


def has_field(config, path):
    """Whether a config has the field, such as `data.source.data_dir` or `phases[0].steps`."""
    for name, index in re.findall(r"(\w+)(?:\[(\d+)\])?", path):
        if not hasattr(config, name):
            return False
        config = getattr(config, name)[int(index)] if index else getattr(config, name)
    return True


def test_flags_that_the_launch_files_name_exist():
    text = "".join(path.read_text() for path in (ROOT / "launch").iterdir())
    named = set(re.findall(r"(?<![\w-])--([a-zA-Z][\w-]*(?:[.\w]|\[\d+\])*)", text)) - FOREIGN
    known = set()
    for module in ("psp_jax.main", "psp_jax.calibrate", "data_builders.scannet_frontiers"):
        command = [sys.executable, "-m", module, "--help"]
        said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
        known |= set(re.findall(r"^ +--(?:\[no\])?(\w+)", said, re.MULTILINE))
    assert {"workdir", "beam_options"} <= named & known
    fields = {name for name in named if name.startswith("config.")}
    assert named - fields <= known
    assert "config.data.source.data_dir" in fields
    names = CONFIGS | {"photographs"}
    configs = [importlib.import_module(f"configs.{name}").get_config() for name in names]
    configs.append(importlib.import_module("configs.depth_mse").get_config("scannet"))
    for field in fields:
        assert any(has_field(each, field.removeprefix("config.")) for each in configs), field
