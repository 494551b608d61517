"""Long forms, `pytest -m slow`: kills at random moments, and thousands of steps."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import sys
import time

import jax
import numpy as np
import pytest

from psp_jax import checkpoints, data, experiment, train
from psp_jax.runtime import goodput, metric_log
from tests.experiments import make_tiny

MOMENTS = ("step", "save", "evaluation", "phase")


def train_with_events(folder, workdir, log, output):
    """Trains, and writes a line into `log` at each event: the batch of a step, a save."""
    with open(output, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

    def write_event(*words):
        with open(log, "a") as file:
            print(*words, file=file, flush=True)

    def logged_batches(*args, first_step, batches=data.train_batches, **options):
        write_event("phase", first_step)
        for step, batch in enumerate(
            batches(*args, first_step=first_step, **options), first_step + 1
        ):
            digest = hashlib.sha256(batch.image.tobytes() + batch.frontier.tobytes())
            write_event("step", step, digest.hexdigest())
            yield batch

    def logged(word, call):
        def wrapper(*args, **kwargs):
            write_event(word, 0)
            return call(*args, **kwargs)

        return wrapper

    data.train_batches = logged_batches
    checkpoints.ocp.save_checkpointables = logged("save", checkpoints.ocp.save_checkpointables)
    data.eval_batches = logged("evaluation", data.eval_batches)
    train.run(experiment.load(folder), workdir)


def steps_of(events):
    """Maps steps to the digests of their batches; a step that was done again has the same."""
    digests = {}
    for line in events.read_text().splitlines():
        word, *rest = line.split()
        if word == "step" and len(rest) == 2 and len(rest[1]) == 64:  # A kill can cut a line.
            assert digests.setdefault(int(rest[0]), rest[1]) == rest[1], line
    return digests


@pytest.mark.slow
def test_a_run_that_is_killed_a_dozen_times_ends_as_one_that_is_not(tmp_path, data_dir):
    config = make_tiny(data_dir)
    config.phases = (config.phases[0], dataclasses.replace(config.phases[1], steps=80))
    experiment.save(config, tmp_path)
    rng = random.Random(0)
    # New processes that find everything imported.
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["psp_jax.train"])

    def file_of(name, suffix):
        return tmp_path / f"{name}.{suffix}"

    def read(path):
        return path.read_text() if path.exists() else ""

    def start(name):
        files = (tmp_path / name, file_of(name, "log"), file_of(name, "txt"))
        process = forking.Process(target=train_with_events, args=(tmp_path, *files))
        process.start()
        return process

    def finish(name, process):
        process.join(600)
        assert process.exitcode == 0, file_of(name, "txt").read_text()

    unbroken = start("whole")
    while "evaluation" not in read(file_of("whole", "log")) and unbroken.is_alive():
        time.sleep(0.1)  # The others load what it has compiled.
    kills = dict.fromkeys(MOMENTS, 0)
    events = file_of("broken", "log")
    for kill in range(12):
        moment, skipped = MOMENTS[kill % len(MOMENTS)], rng.randrange(3)
        before = len(read(events).splitlines())
        process = start("broken")
        while process.is_alive():
            new = read(events).splitlines()[before:]
            if sum(line.startswith(moment) for line in new) > (moment != "phase") * skipped:
                time.sleep(rng.uniform(0, 0.05))
                process.kill()
                kills[moment] += 1
                break
            time.sleep(0.002)
        process.join(60)
    assert sum(kills.values()) >= 10, kills
    finish("whole", unbroken)
    finish("broken", start("broken"))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert steps_of(file_of("whole", "log")) == steps_of(events)
    one, other = (checkpoints.latest_step(each) for each in (whole, broken))
    assert one == other == sum(phase.steps for phase in config.phases)
    first, second = (checkpoints.load_variables(workdir) for workdir in (whole, broken))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    lines = [
        [json.loads(line) for line in (each / metric_log.METRICS_FILE).read_text().splitlines()]
        for each in (whole, broken)
    ]
    kept = ("step", "validation_loss", "validation_rmse_m", "learning_rate")
    assert [[r[n] for n in kept] for r in lines[0]] == [[r[n] for n in kept] for r in lines[1]]
    assert (whole / "test.json").read_text() == (broken / "test.json").read_text()
    spent = json.loads((broken / goodput.FILE).read_text())
    assert spent["sessions"] == 13
    print(f"killed {kills}, {spent}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_five_thousand_steps_leave_memory_and_open_files_flat(tmp_path, data_dir, monkeypatch):
    config = make_tiny(data_dir)
    config.phases = (experiment.Phase(steps=5000, learning_rate=1e-4),)
    config.checkpoint_every, config.validate_every = 250, 100  # Every validation draws a sheet.
    measured, write = {}, metric_log.MetricLog.write

    def measuring(self, record):
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        measured[record["step"]] = resident, len(os.listdir("/proc/self/fd"))
        write(self, record)

    monkeypatch.setattr(metric_log.MetricLog, "write", measuring)
    train.run(config, str(tmp_path / "run"))
    shown = {step: each for step, each in measured.items() if step % 500 == 0}
    print({step: (round(memory), files) for step, (memory, files) in shown.items()})
    early = [each for step, each in measured.items() if 500 < step < 1500]
    late = [each for step, each in measured.items() if step > 4000]
    (memory, files), (memory_late, files_late) = (np.median(each, axis=0) for each in (early, late))
    assert memory_late - memory < 30, f"{memory:.0f} -> {memory_late:.0f} MiB"
    assert files_late == files
    events, sheets = (
        sum(path.stat().st_size for path in (tmp_path / "run" / name).iterdir())
        for name in ("tensorboard", "validation")
    )
    assert events < 2**21 + 1.1 * sheets
