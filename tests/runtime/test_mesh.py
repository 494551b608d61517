"""One device against several, in one process and in two: the same training, step by step."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from psp_jax import checkpoints, experiment, init_from, objectives, optim, state, train
from psp_jax.evaluation import run_report
from psp_jax.models import unet
from psp_jax.runtime import mesh
from tests.experiments import make_tiny

STEPS = 16
# The command of the README, without the report, whose figures take long to compile.
PROGRAM = """
from absl import app
from psp_jax import main
from psp_jax.evaluation import run_report
run_report.report = lambda *unused: print("reported")
app.run(main.main, flags_parser=main.parse)
"""
CONFIG = """
from psp_jax import experiment
def get_config():
    return experiment.load({folder!r})
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory, data_dir):
    """A folder with `config.py`, and `one`, the workdir of a run on one device."""
    folder = tmp_path_factory.mktemp("sharding")
    return train_on_one(folder, make_tiny(data_dir), ("trunk", "head", "classifier"))


@pytest.fixture(scope="module")
def light(tmp_path_factory, data_dir):
    """The same of a network that compiles in seconds."""
    config = make_tiny(data_dir)
    config.model = unet.DepthCNN(width=4, levels=1)
    return train_on_one(tmp_path_factory.mktemp("light"), config, unet.DepthUNet.PARTS)


def train_on_one(folder, config, parts):
    config.objective = objectives.FrontierEdges()
    config.data.batch_size = 8  # The last batch of 12 validation images is padded.
    # What would make much of rounding errors is left out: Adam, which divides by the gradient, and
    # the training of the pyramid, whose batch norms see a value per image. With some seeds an
    # activation lies so near 0 that rounding decides whether its gradient counts.
    config.seed = 1
    phase = experiment.Phase(
        steps=STEPS,
        train=parts,
        learning_rate=1e-3,
        optimizer=experiment.Optimizer.SGD,
    )
    config.phases = (phase,)
    config.checkpoint_every, config.keep_checkpoints = 2, 100
    (folder / "config").mkdir()
    experiment.save(config, folder / "config")
    (folder / "config.py").write_text(CONFIG.format(folder=str(folder / "config")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_report, "report", lambda *unused: None)
        train.run(config, str(folder / "one"))
    return folder


def start(folder, workdir, *flags, devices):
    command = [sys.executable, "-c", PROGRAM, f"--config={folder}/config.py"]
    flags_of_xla = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags_of_xla} --xla_force_host_platform_device_count={devices}",
    }
    return subprocess.Popen(
        [*command, f"--workdir={workdir}", *flags],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(folder, workdir, *flags):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    here = [f"--coordinator=localhost:{port}", "--num_processes=2"]
    return [
        start(folder, workdir, *here, f"--process_id={index}", *flags, devices=2)
        for index in range(2)
    ]


def finish(processes, status=0, limit_s=300):
    """Waits for all and returns what each has printed."""
    end = time.monotonic() + limit_s
    try:
        outputs = [process.communicate(timeout=end - time.monotonic()) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [status] * len(processes), outputs
    # Gloo's threads may break each other's lines, and leave an empty one.
    return [re.sub(r".*(\[Gloo\]|peer ranks).*\n", "", output).strip() for output, _ in outputs]


def records_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_the_same_training(workdir, other):
    one, two = records_of(workdir), records_of(other)
    assert [record["step"] for record in one] == [record["step"] for record in two]
    for name in ("train_loss", "validation_loss", "validation_edge_bits"):
        pairs = [
            (first[name], second[name])
            for first, second in zip(one, two, strict=True)
            # After a resumption the mean of an epoch is that of what was left of it.
            if name != "train_loss" or first["train_images"] == second["train_images"]
        ]
        assert len(pairs) >= 2
        np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-5, err_msg=name)
    assert_close(*map(checkpoints.load_variables, (workdir, other)), reference=drawn(other))


def assert_close(first, second, *, reference):
    """Two trees differ by less than a hundredth of how far training has moved them."""

    def distance(one, two):
        differences = jax.tree.map(lambda a, b: np.square(np.asarray(a) - b).sum(), one, two)
        return np.sqrt(sum(jax.tree.leaves(differences)))

    for kind in ("params", "batch_stats"):
        moved = distance(second[kind], reference[kind])
        assert moved > 1e-3 and distance(first[kind], second[kind]) < 0.01 * moved


def drawn(workdir):
    config = experiment.load(workdir)
    return init_from.drawn(config, config.model.make(config.objective.channels))


def assert_restored_onto_one_device(workdir):
    """The structure of the moments is that of a run on one device."""
    (phase,) = experiment.load(workdir).phases
    like = state.create(drawn(workdir), optim.make(phase), phase.train, STEPS)
    with checkpoints.Store(workdir, keep=100) as store:
        restored = store.load_variables(STEPS, like.variables)
        moments = store.load_optimizer(STEPS, like.opt_state)
    for leaf in jax.tree.leaves((restored, moments)):
        assert leaf.devices() == {jax.devices()[0]}
    read = checkpoints.load_variables(workdir)
    jax.tree.map(np.testing.assert_array_equal, restored, read)


def test_eight_devices_train_as_one_does(light):
    (output,) = finish([start(light, light / "eight", devices=8)])
    assert "8 images on 8 x cpu" in output
    assert_the_same_training(light / "eight", light / "one")


@pytest.mark.slow
def test_two_processes_go_on_from_one_leave_at_the_same_step_and_go_on_with_parameters_split(
    reference,
):
    workdir = reference / "two"
    workdir.mkdir()
    shutil.copytree(reference / "one" / "checkpoints" / "2", workdir / "checkpoints" / "2")
    processes = start_two(reference, workdir, "--config.checkpoint_every=1")
    end = time.monotonic() + 300
    while not (workdir / "checkpoints" / "4").exists() and time.monotonic() < end:
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    output, other = finish(processes, status=143)
    assert other == ""  # The first one speaks.
    assert "not bit-exactly" in output and "devices: 1 -> 4; processes: 1 -> 2" in output
    step = checkpoints.require(workdir)
    assert f"terminated: step {step} is saved" in output and 4 < step < STEPS

    output, other = finish(start_two(reference, workdir, "--config.shard_parameters"))
    assert f"resuming {workdir} after step {step}" in output
    assert "reported" in output and other == ""
    assert_the_same_training(workdir, reference / "one")
    assert_restored_onto_one_device(workdir)
    held = re.search(r"a device holds ([\d.]+) of ([\d.]+) MiB of the state", output)
    assert held and float(held[1]) < 0.5 * float(held[2])


def test_batches_that_the_devices_cannot_share_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    mesh.check(16)
    with pytest.raises(experiment.ConfigError, match="batch_size=12 is not .* 8 devices .* 16"):
        mesh.check(12)
