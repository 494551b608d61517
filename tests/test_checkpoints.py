import dataclasses
import errno
import os
import re
import resource
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import damage
from psp_jax import checkpoints, state
from psp_jax.io import manifest


@pytest.fixture
def current():
    params = {"head": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "trunk": {"bias": jnp.ones(3)}}
    variables = {"params": params, "batch_stats": {"head": {"mean": jnp.full(3, 0.25)}}}
    return state.create(variables, optax.adam(1e-3), ("head",), 7)


def test_state_survives_a_round_trip_bit_by_bit(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        assert store.latest_step() is None
        store.save(current)
        assert store.latest_step() == 7
    with checkpoints.Store(tmp_path, keep=2) as store:
        variables = store.load_variables(7)
        blank = jax.tree.map(jnp.zeros_like, current.opt_state)
        opt_state = store.load_optimizer(7, blank)
    jax.tree.map(np.testing.assert_array_equal, variables, current.variables)
    jax.tree.map(np.testing.assert_array_equal, opt_state, current.opt_state)
    assert jax.tree.structure(opt_state) == jax.tree.structure(current.opt_state)


def test_a_notebook_needs_no_template(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(current)
    variables = checkpoints.load_variables(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, variables, current.variables)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(variables))


def test_a_workdir_whose_name_is_not_utf8_is_refused_before_anything_is_computed(tmp_path):
    workdir = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(OSError, match="is not UTF-8"):
        checkpoints.Store(workdir, keep=1)
    (workdir / "checkpoints" / "7" / "variables").mkdir(parents=True)
    with pytest.raises(OSError, match="is not UTF-8"):
        checkpoints.load_best(workdir)


def test_only_the_newest_are_kept(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        for step in (1, 2, 3):
            store.save(state.create(current.variables, optax.adam(1e-3), ("head",), step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]


def test_saving_the_same_step_twice_is_no_error(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(current)
        store.save(current)
        assert store.latest_step() == 7


def test_what_a_kill_left_of_a_save_is_removed(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(current)
    for name in (".partial-8", ".partial-8.orbax-checkpoint-tmp", "9.orbax-checkpoint-tmp-1"):
        (tmp_path / "checkpoints" / name / "variables").mkdir(parents=True)
    with checkpoints.Store(tmp_path, keep=2) as store:
        assert store.latest_step() == 7
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["7"]


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        checkpoints.load_variables(tmp_path)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A workdir with checkpoints of steps 7 and 8, whose variables are their steps."""
    workdir = tmp_path_factory.mktemp("two_steps")
    with checkpoints.Store(workdir, keep=2) as store:
        for step in (7, 8):
            store.save(at(step))
    return workdir


def at(step):
    variables = {"params": {"head": jnp.full((2, 3), float(step))}, "batch_stats": {}}
    return state.create(variables, optax.adam(1e-3), ("head",), step)


def start(workdir, resume_from=None, *, needs_optimizer=True):
    """Chooses the step to resume from, as a session does before it changes anything."""
    with checkpoints.Store(workdir, keep=2) as store:
        return store.choose(resume_from, needs_optimizer=lambda step: needs_optimizer)


@pytest.mark.parametrize("way", damage.WAYS)
def test_a_damaged_newest_step_stops_the_run_and_changes_nothing(two_steps, tmp_path, way):
    """Every file of a step is hit, the list of digests included; 60 times by a flipped bit."""
    rng = np.random.default_rng(0)
    step_dir = two_steps / "checkpoints" / "8"
    names = sorted(path.relative_to(step_dir) for path in step_dir.rglob("*") if path.is_file())
    hits = 60 if way == "flip" else 8
    for hit in rng.permutation(max(hits, len(names)))[:hits]:
        workdir = tmp_path / str(hit)
        shutil.copytree(two_steps, workdir)
        newest = workdir / "checkpoints" / "8"
        if not damage.WAYS[way](newest / names[hit % len(names)], rng):
            continue  # An empty file can't be made shorter.
        left = damage.contents(workdir)
        with pytest.raises(OSError, match="step 8: .*step 7: intact.*--resume_from=7") as caught:
            start(workdir)
        named = names[hit % len(names)].as_posix()
        assert named in str(caught.value) or named == manifest.FILE
        assert damage.contents(workdir) == left
        assert start(workdir, 7) == 7
        assert damage.contents(workdir) == left


def test_a_step_that_is_not_used_is_moved_and_the_command_may_be_repeated(
    two_steps, tmp_path, capsys
):
    shutil.copytree(two_steps, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "8" / "environment.json").unlink()
    left = damage.contents(tmp_path / "run" / "checkpoints" / "8")
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        store.set_aside(7)
        assert store.latest_step() == 7
        store.save(at(8))
    unused = tmp_path / "run" / "unused_checkpoints" / "8"
    assert damage.contents(unused) == left and str(unused) in capsys.readouterr().out
    assert start(tmp_path / "run", 7) == 8
    assert "step 8 is intact" in capsys.readouterr().out
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        store.set_aside(7)
    assert {path.name for path in unused.parent.iterdir()} == {"8", "8-2"}


def test_a_damaged_optimizer_matters_only_within_a_phase(two_steps, tmp_path, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    for name in ("_METADATA", "manifest.ocdbt"):
        (tmp_path / "run" / "checkpoints" / "8" / "optimizer" / name).write_bytes(b"")
    with pytest.raises(OSError, match="optimizer/_METADATA is not the file"):
        start(tmp_path / "run")
    assert start(tmp_path / "run", needs_optimizer=False) == 8
    assert "optimizer/_METADATA" in capsys.readouterr().out
    assert checkpoints.load_best(tmp_path / "run")[0] == 8


@pytest.mark.parametrize("step", [3, 8])
def test_a_step_that_is_absent_or_damaged_is_no_choice(two_steps, tmp_path, step):
    shutil.copytree(two_steps, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "8" / "variables" / "_METADATA").unlink()
    with pytest.raises(OSError, match=f"from step {step} .*step 7: intact"):
        start(tmp_path / "run", step)
    assert start(tmp_path / "run", 0) == 0
    with pytest.raises(OSError, match="from step 3 .it holds no checkpoint"):
        start(tmp_path, 3)


def test_who_only_reads_passes_a_damaged_step_over_and_moves_nothing(two_steps, tmp_path, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    damaged = tmp_path / "run" / "checkpoints" / "8" / "variables" / "manifest.ocdbt"
    damage.flip(damaged, np.random.default_rng(0))
    before = damage.contents(tmp_path)
    step, variables = checkpoints.load_best(tmp_path / "run")
    assert step == 7 and (variables["params"]["head"] == 7).all()
    assert re.match("checkpoint 8 of .*skipped: .*manifest.ocdbt", capsys.readouterr().out)
    assert damage.contents(tmp_path) == before


def test_files_that_others_leave_in_a_step_are_named_and_are_no_damage(two_steps, tmp_path, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    for step in (tmp_path / "run" / "checkpoints").iterdir():
        (step / "Thumbs.db").write_bytes(b"icons")
        (step / "variables" / "._manifest.ocdbt").write_bytes(b"fork")
    assert start(tmp_path / "run") == 8
    assert "Thumbs.db" in capsys.readouterr().out
    assert checkpoints.load_best(tmp_path / "run")[0] == 8
    with checkpoints.Store(tmp_path / "run", keep=1) as store:
        store.save(at(9))
    assert start(tmp_path / "run") == 9
    assert {path.name for path in (tmp_path / "run").rglob("7/**/*") if path.is_file()} == {
        "Thumbs.db",
        "._manifest.ocdbt",
    }


def test_empty_and_foreign_folders_are_no_steps_and_half_a_copy_is_damaged(two_steps, tmp_path):
    shutil.copytree(two_steps, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    (folder / "9").mkdir()
    (folder / "10").mkdir()
    (folder / "10" / "notes.txt").touch()
    (folder / "11").touch()
    (folder / "08").mkdir()
    assert start(tmp_path / "run") == 8
    shutil.copytree(folder / "8" / "variables", folder / "12" / "variables")
    with pytest.raises(OSError, match="step 12: SHA256SUMS can't be read"):
        start(tmp_path / "run")


def test_what_is_left_without_a_sound_step_is_said(two_steps, tmp_path):
    shutil.copytree(two_steps, tmp_path / "run")
    for path in (tmp_path / "run").rglob("_METADATA"):
        path.write_bytes(b"")
    with pytest.raises(OSError, match="holds no intact checkpoint: 7, 8 damaged"):
        checkpoints.load_variables(tmp_path / "run")
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        with pytest.raises(OSError, match="step 8: .*step 7: .*--resume_from=0"):
            store.choose(needs_optimizer=lambda step: True)


def test_steps_of_the_time_before_digests_are_restored_and_that_is_said(
    two_steps, tmp_path, capsys
):
    shutil.copytree(two_steps, tmp_path / "run")
    for path in (tmp_path / "run").rglob(manifest.FILE):
        path.unlink()
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        assert store.choose(needs_optimizer=lambda step: True) == 8
        assert (store.load_variables(8)["params"]["head"] == 8).all()
        assert "taken unverified" in capsys.readouterr().out
        store.save(at(9))
    assert (checkpoints.load_variables(tmp_path / "run")["params"]["head"] == 9).all()


def test_arrays_that_differ_are_listed_and_nothing_is_cast(tmp_path, current):
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(current)
        like = jax.tree.map(lambda leaf: leaf, current.variables)
        store.load_variables(7, like)
        like["params"]["head"] = {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}
        like["batch_stats"]["head"]["mean"] = jnp.zeros(3, jnp.float16)
        with pytest.raises(ValueError, match="in 3 of 4 arrays") as caught:
            store.load_variables(7, like)
        for each in (
            "batch_stats/head/mean: float32[3] there, float16[3] here",
            "params/head/bias: none there, float32[2] here",
            "params/head/kernel: float32[2, 3] there, float32[3, 2] here",
        ):
            assert each in str(caught.value)
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), current.opt_state)
        with pytest.raises(ValueError, match="opt_state/0/mu/head/kernel: float32.*float16"):
            store.load_optimizer(7, half)


def test_another_machine_is_told_apart(tmp_path, current, monkeypatch):
    here = jax.__version__
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(current)
        assert store.changes(7) == []
        monkeypatch.setattr(jax, "__version__", "9.9")
        assert store.changes(7) == [f"jax: {here} -> 9.9"]


def test_a_save_that_fails_leaves_the_step_before_and_nothing_half_written(tmp_path):
    """As on a full disk: no file may grow beyond a limit."""
    big = jnp.asarray(np.random.default_rng(0).normal(size=(600, 600)), jnp.float32)
    with checkpoints.Store(tmp_path, keep=2) as store:
        store.save(at(7))
        before = damage.contents(tmp_path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            state_8 = dataclasses.replace(at(8), params={"head": big})
            with pytest.raises(OSError, match="step 8 could not be saved .*Step 7 is intact"):
                store.save(state_8)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert damage.contents(tmp_path) == before
        store.save(state_8)
    np.testing.assert_array_equal(checkpoints.load_variables(tmp_path)["params"]["head"], big)


@pytest.mark.parametrize("call", ["write", "rename"])
def test_a_step_is_there_whole_or_not_at_all(tmp_path, monkeypatch, call):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with checkpoints.Store(tmp_path, keep=2) as store:
        with monkeypatch.context() as patch:
            if call == "write":
                patch.setattr(manifest, "write", fail)
            else:
                patch.setattr(checkpoints, "_sync", fail)
            with pytest.raises(OSError, match="No space left on device"):
                store.save(at(7))
    steps = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert steps == ([] if call == "write" else ["7"])
