import dataclasses
import errno
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


@pytest.mark.parametrize("way", damage.WAYS)
def test_a_damaged_newest_step_is_put_aside_and_the_one_before_it_is_used(
    two_steps, tmp_path, capsys, way
):
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
        left = damage.contents(newest)
        with checkpoints.Store(workdir, keep=2) as store:
            assert store.latest_step() == 7
        said = capsys.readouterr().out
        assert re.match("checkpoint 8 of .* is damaged: .*moved to .*damaged_checkpoints/8", said)
        named = names[hit % len(names)].as_posix()
        assert named in said or named == manifest.FILE
        assert damage.contents(workdir / "damaged_checkpoints" / "8") == left


def test_who_only_reads_passes_a_damaged_step_over_and_moves_nothing(two_steps, tmp_path, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    damage.flip(next((tmp_path / "run" / "checkpoints" / "8").rglob("manifest.ocdbt")),
                np.random.default_rng(0))  # fmt: skip
    before = damage.contents(tmp_path)
    step, variables = checkpoints.load_newest(tmp_path / "run")
    assert step == 7 and (variables["params"]["head"] == 7).all()
    assert re.match("checkpoint 8 of .*skipped: .*manifest.ocdbt", capsys.readouterr().out)
    assert damage.contents(tmp_path) == before


def test_after_a_step_was_put_aside_it_is_saved_anew(two_steps, tmp_path):
    shutil.copytree(two_steps, tmp_path / "run")
    damage.delete(tmp_path / "run" / "checkpoints" / "8" / manifest.FILE, np.random.default_rng(0))
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        store.save(at(8))
    assert (checkpoints.load_variables(tmp_path / "run")["params"]["head"] == 8).all()


def test_files_that_others_leave_in_a_step_are_named_and_are_no_damage(two_steps, tmp_path, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    for step in (tmp_path / "run" / "checkpoints").iterdir():
        (step / "Thumbs.db").write_bytes(b"icons")
        (step / "variables" / "._manifest.ocdbt").write_bytes(b"fork")
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        assert store.latest_step() == 8
    assert "Thumbs.db" in capsys.readouterr().out
    assert checkpoints.load_newest(tmp_path / "run")[0] == 8
    assert not (tmp_path / "run" / "damaged_checkpoints").exists()


def test_an_empty_folder_and_half_a_copy_are_no_steps(two_steps, tmp_path, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    (folder / "9").mkdir()
    shutil.copytree(folder / "8" / "variables", folder / "10" / "variables")
    for _ in range(2):
        (folder / "11").mkdir()
        with checkpoints.Store(tmp_path / "run", keep=2) as store:
            assert store.latest_step() == 8
    aside = {path.name for path in (tmp_path / "run" / "damaged_checkpoints").iterdir()}
    assert aside == {"9", "10", "11", "11-2"}
    assert "checkpoint 10" in capsys.readouterr().out


def test_what_is_left_without_a_sound_step_is_said(two_steps, tmp_path, capsys):
    shutil.copytree(two_steps, tmp_path / "run")
    for path in (tmp_path / "run").rglob("_METADATA"):
        path.write_bytes(b"")
    with pytest.raises(OSError, match="holds no intact checkpoint: 8, 7 damaged"):
        checkpoints.load_variables(tmp_path / "run")
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        assert store.latest_step() is None
    assert "checkpoint 7" in capsys.readouterr().out


def test_steps_of_the_time_before_digests_are_restored_and_that_is_said(
    two_steps, tmp_path, capsys
):
    shutil.copytree(two_steps, tmp_path / "run")
    for path in (tmp_path / "run").rglob(manifest.FILE):
        path.unlink()
    with checkpoints.Store(tmp_path / "run", keep=2) as store:
        assert (store.load_variables(8)["params"]["head"] == 8).all()
        assert "taken unverified" in capsys.readouterr().out
        store.save(at(9))
    (tmp_path / "run" / "checkpoints" / "10").mkdir()
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
