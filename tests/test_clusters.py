"""Runs the files of launch/ on stand-ins for the systems they are written for."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from data_builders.scannet_frontiers import pool

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SHELL_FILES = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])

SLURM = LAUNCH / "slurm.sbatch"

# Stands in for Python: logs its arguments and exits with STATUS.
PYTHON = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([os.environ.get("SLURM_PROCID"), *sys.argv[1:]]) + "\\n")
sys.exit(int(os.environ.get("STATUS", 0)))
"""
# Runs the tasks of one step one after the other; its status is the highest of theirs.
SRUN = f"""#!{sys.executable}
import os, subprocess, sys
tasks = int(os.environ["SLURM_NTASKS"])
codes = [
    subprocess.run(sys.argv[1:], env=os.environ | {{"SLURM_PROCID": str(i)}}).returncode
    for i in range(tasks)
]
sys.exit(max(codes))
"""
SCONTROL = f"""#!{sys.executable}
import os, sys
with open(os.environ["REQUEUED"], "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
"""
# Reads the options of sbatch in the script, which the command line overrides, then runs the script
# once, or once for each task of an array.
SBATCH = f"""#!{sys.executable}
import argparse, json, os, subprocess, sys
parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=True)
for name in ("job-name", "array", "time", "signal", "dependency", "output", "open-mode"):
    parser.add_argument("--" + name)
for name in ("nodes", "ntasks", "ntasks-per-node", "gpus-per-node", "cpus-per-task"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--requeue", action="store_true")
first = next(i for i, word in enumerate(sys.argv[1:], 1) if not word.startswith("-"))
lines = open(sys.argv[first]).read().splitlines()
head = lines[: next(i for i, line in enumerate(lines) if line and line[0] != "#")]
assert not any(line.startswith("#SBATCH") for line in lines[len(head):]), "SLURM ignores these"
words = [line.split()[1] for line in head if line.startswith("#SBATCH")]
options = parser.parse_args([*words, *sys.argv[1:first]])
with open(os.environ["OPTIONS"], "w") as file:
    json.dump(vars(options), file)
tasks = options.ntasks or (options.nodes or 1) * options.ntasks_per_node
environment = os.environ | {{
    "SLURM_JOB_ID": "70",
    "SLURM_JOB_NAME": options.job_name,
    "SLURM_NTASKS": str(tasks),
    "SLURM_CPUS_PER_TASK": str(options.cpus_per_task),
}}
last = int(options.array.partition("-")[2].partition("%")[0]) if options.array else 0
for index in range(last + 1):
    array = {{
        "SLURM_ARRAY_JOB_ID": "70",
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_ARRAY_TASK_COUNT": str(last + 1),
    }}
    done = subprocess.run(
        ["bash", *sys.argv[first:]], env=environment | (array if options.array else {{}})
    )
    if done.returncode:
        sys.exit(done.returncode)
"""


class System:
    """A machine on which python, sbatch, srun and scontrol are stand-ins."""

    def __init__(self, folder: pathlib.Path):
        programs = {"python": PYTHON, "sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL}
        for name, text in programs.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.notes = {name: folder / name for name in ("CALLS", "OPTIONS", "REQUEUED")}
        self.environment = os.environ | {name: str(path) for name, path in self.notes.items()}
        self.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
        self.environment.pop("PYTHON", None)

    def run(self, *command, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(word) for word in command],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self) -> list[list]:
        return [json.loads(line) for line in self.notes["CALLS"].read_text().splitlines()]

    @property
    def options(self) -> dict:
        return json.loads(self.notes["OPTIONS"].read_text())

    @property
    def requeued(self) -> str:
        return self.notes["REQUEUED"].read_text()


@pytest.fixture
def system(tmp_path):
    return System(tmp_path)


@pytest.mark.parametrize("path", SHELL_FILES, ids=lambda path: path.name)
def test_bash_can_read_it(path):
    subprocess.run(["bash", "-n", path], check=True)


def test_the_local_script_is_one_command(system):
    script, flags = LAUNCH / "local.sh", ["--config=a b", "--config.seed=3"]
    dry = system.run(script, "--dry_run", *flags)
    assert dry.stdout == "python -m psp_jax.main --config=a b --config.seed=3\n"
    assert not system.notes["CALLS"].exists()
    assert system.run(script, *flags, STATUS="138").returncode == 138
    assert system.calls == [[None, "-m", "psp_jax.main", *flags]]


def test_processes_share_a_coordinator_and_nothing_else(system):
    script = LAUNCH / "processes.sh"
    done = system.run(script, 3, "--dry_run", "--config=a", PYTHON=sys.executable)
    commands = [line.split() for line in done.stdout.splitlines()]
    assert [command[-2:] for command in commands] == [
        [f"--process_id={i}", "--config=a"] for i in range(3)
    ]
    assert [command[1] for command in commands] == [f"JAX_LOCAL_DEVICE_IDS={i}" for i in range(3)]
    assert {tuple(command[3:7]) for command in commands} == {tuple(commands[0][3:7])}
    assert re.fullmatch(r"--coordinator=127\.0\.0\.1:\d+", commands[0][5])
    assert commands[0][3:5] == ["-m", "psp_jax.main"] and commands[0][6] == "--num_processes=3"
    refused = system.run(script, "--config=a")
    assert refused.returncode == 2 and "got '--config=a'" in refused.stderr
    assert system.run(script, 2, "--config=a", PORT="1", STATUS="2").returncode == 2
    assert len(system.calls) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_reach_all_processes_once(tmp_path, number):
    fake = tmp_path / "python"
    # A second signal would end it at once, with another status.
    fake.write_text(
        f"""#!{sys.executable}
import pathlib, signal, sys, time
got = []
for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    signal.signal(name, lambda number, _: got.append(number))
pathlib.Path({str(tmp_path)!r}, sys.argv[-2]).touch()
while not got:
    time.sleep(0.01)
time.sleep(0.2)
sys.exit(128 + got[0] if len(got) == 1 else 1)
"""
    )
    fake.chmod(0o755)
    environment = os.environ | {"PYTHON": str(fake), "PORT": "1"}
    # A background job of a shell would ignore the signal, and no trap could change that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [LAUNCH / "processes.sh", "2", "ready"], env=environment, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    until_s = time.monotonic() + 30
    while len(list(tmp_path.glob("--process_id=*"))) < 2 and time.monotonic() < until_s:
        time.sleep(0.02)
    time.sleep(0.2)  # Until the script waits.
    os.killpg(process.pid, number)  # As a terminal does.
    assert process.wait(timeout=30) == 128 + number


def test_slurm_runs_a_task_on_each_gpu_and_requeues_jobs_that_ran_out_of_time(system):
    flags = ["--config=configs/depth_mse.py:scannet"]
    given = ["--job-name=mine", "--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2"]
    command = ["sbatch", *given, "launch/slurm.sbatch", *flags]
    done = system.run(*command)
    assert done.returncode == 0, done.stderr
    options = system.options
    assert options["nodes"] == 2  # The command line's.
    assert options["requeue"] and options["dependency"] == "singleton"
    assert re.fullmatch(r"USR1@\d+", options["signal"])  # Without B: the tasks get it, not bash.
    assert int(options["signal"].partition("@")[2]) >= 120  # SLURM may send it a minute late.
    assert [call[0] for call in system.calls] == [str(i) for i in range(len(system.calls))]
    assert len(system.calls) == 4
    expected = ["-m", "psp_jax.main", "--distributed", "--workdir=runs/mine", *flags]
    assert all(call[1:] == expected for call in system.calls)
    assert system.run(*command, STATUS=str(128 + signal.SIGTERM)).returncode == 143
    assert not system.notes["REQUEUED"].exists()
    assert system.run(*command, STATUS=str(128 + signal.SIGUSR1)).returncode == 0
    assert system.requeued == "requeue 70\n"
    head = dict(re.findall(r"^#SBATCH --(.*)=(.*)$", SLURM.read_text(), re.MULTILINE))
    assert head["ntasks-per-node"] == head["gpus-per-node"]


def test_a_slurm_array_runs_every_config_with_every_seed(system):
    arguments = ["launch/slurm_sweep.sbatch", "configs/a.py:scannet configs/b.py", "0 1 5", "--x=1"]
    done = system.run("sbatch", "--array=0-5%2", *arguments, STATUS="138")
    assert done.returncode == 0, done.stderr
    assert [call[3:] for call in system.calls] == [
        [
            f"--config={file}",
            f"--config.seed={seed}",
            f"--workdir=runs/sweep/{name}-{seed}",
            "--x=1",
        ]
        for file, name in (("configs/a.py:scannet", "a"), ("configs/b.py", "b"))
        for seed in (0, 1, 5)
    ]
    assert system.requeued == "".join(f"requeue 70_{index}\n" for index in range(6))
    options = system.options
    assert options["requeue"] and options["ntasks"] == options["gpus_per_node"] == 1
    refused = system.run("sbatch", "--array=0-3", *arguments)
    assert refused.returncode == 2 and "--array: expected 0-5" in refused.stderr


def test_the_stand_in_of_sbatch_refuses_what_slurm_refuses(system, tmp_path):
    script = tmp_path / "job"
    script.write_text("#!/bin/bash\n#SBATCH --gpu-per-node=4\ntrue\n")
    assert system.run("sbatch", script).returncode == 2
    script.write_text("#!/bin/bash\n#SBATCH --ntasks=1\ntrue\n#SBATCH --requeue\n")
    assert "SLURM ignores these" in system.run("sbatch", script).stderr


def test_pods_of_the_jobset_know_their_number_and_the_first_ones_name():
    text = (LAUNCH / "jobset.yaml").read_text()
    jobset = yaml.safe_load(text)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = jobset["spec"]["replicatedJobs"]
    work = job["template"]["spec"]
    pod = work["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "psp_jax.main"]
    given = dict(word.removeprefix("--").split("=", 1) for word in container["args"])
    name = jobset["metadata"]["name"]
    assert given["coordinator"].startswith(f"{name}-{job['name']}-0-0.{name}:")
    assert int(given["num_processes"]) == work["completions"] == work["parallelism"]
    assert job["replicas"] == 1 and work["completionMode"] == "Indexed"
    (variable,) = container["env"]
    assert given["process_id"] == f"$({variable['name']})"
    assert "job-completion-index" in variable["valueFrom"]["fieldRef"]["fieldPath"]
    # A failed job restarts as a whole, and an evicted one has time to save.
    assert pod["restartPolicy"] == "Never" and work["backoffLimit"] == 0
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
    assert pod["terminationGracePeriodSeconds"] >= 120
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    for flag in ("workdir", "config.data.source.data_dir"):
        assert given[flag].startswith(mounted["storage"])
    assert (ROOT / given["config"].partition(":")[0]).exists()


def test_the_image_has_every_folder_that_the_commands_need():
    lines = [line.split() for line in (LAUNCH / "Dockerfile").read_text().splitlines()]
    copied = {word for line in lines if line[:1] == ["COPY"] for word in line[1:-1]}
    assert {"setup.py", "README.md", "psp_jax", "data_builders", "configs"} <= copied
    assert all((ROOT / name).exists() for name in copied)


def test_skypilot_resumes_from_the_bucket(system):
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    done = system.run("bash", "-euc", task["run"], **task["envs"])
    assert done.returncode == 0, done.stderr
    (call,) = system.calls
    assert call[1:3] == ["-m", "psp_jax.main"]
    given = dict(word.removeprefix("--").split("=", 1) for word in call[3:])
    assert (ROOT / given["config"].partition(":")[0]).exists()
    mounts = task["file_mounts"]
    assert given["config.data.source.data_dir"] in mounts
    assert mounts[str(pathlib.PurePath(given["workdir"]).parent)]["mode"] == "MOUNT_CACHED"
    recovery = task["resources"]["job_recovery"]
    assert set(recovery["recover_on_exit_codes"]) == {
        128 + signal.SIGUSR1,
        128 + signal.SIGTERM,
    }


@pytest.mark.parametrize(
    ("engine", "where", "runner", "expected"),
    [
        ("spark", "host:7077", "SparkRunner", "--spark_master_url=spark://host:7077"),
        ("flink", "host:8081", "FlinkRunner", "--flink_master=host:8081"),
        ("dataflow", "mine", "DataflowRunner", "--project=mine"),
    ],
)
def test_builders_hand_beam_its_options(system, engine, where, runner, expected):
    flags = ["--manual_dir=/nfs/scans", "--data_dir=/nfs/data"]
    command = [LAUNCH / "build_beam.sh", engine, where, *flags]
    environment = {"REGION": "r", "BUCKET": "b", "IMAGE": "i", "PARALLELISM": "7"}
    assert system.run(*command, **environment).returncode == 0
    ((_, module, name, *given),) = system.calls
    assert [module, name, given[0]] == [
        "-m",
        "data_builders.scannet_frontiers",
        f"--beam_runner={runner}",
    ]
    assert given[2:] == flags
    options = given[1].removeprefix("--beam_options=").split(",")
    arguments = pool.beam_options(runner, options, workers=1)
    assert expected in arguments and all("=" in argument for argument in arguments)
    dry = system.run(command[0], "--dry_run", *command[1:], **environment)
    assert dry.stdout.split() == ["python", *system.calls[0][1:]] and len(system.calls) == 1
    try:
        from apache_beam.options import pipeline_options  # pyright: ignore[reportMissingImports]
    except ImportError:
        return
    known = pipeline_options.PipelineOptions(arguments).get_all_options(drop_default=True)
    assert len(known) == len(arguments)


def test_an_engine_that_is_not_known_is_refused(system):
    done = system.run(LAUNCH / "build_beam.sh", "ray", "host")
    assert done.returncode == 2 and "'ray'" in done.stderr and "spark" in done.stderr
    assert "PARALLELISM" not in done.stderr and not system.notes["CALLS"].exists()
    missing = system.run(LAUNCH / "build_beam.sh", "dataflow", "mine")
    assert missing.returncode != 0 and "REGION" in missing.stderr


def test_every_file_is_documented():
    text = (LAUNCH / "README.md").read_text()
    sections = re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", text, re.MULTILINE)
    names = {name for title, _ in sections for name in re.findall(r"`([\w.]+)`", title)}
    files = {path.name for path in LAUNCH.iterdir()} - {"README.md", "thesis_rooms.sh"}
    assert names == files
    for title, body in sections:
        assert len(re.findall(r"^- ", body, re.MULTILINE)) == 5, title
