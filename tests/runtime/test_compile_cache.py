import os
import subprocess
import sys
import time

from psp_jax.runtime import compile_cache

COMPILES = """
import jax
from psp_jax.runtime import compile_cache
print(compile_cache.enable())
print(jax.jit(lambda x: x * 2 + 1)(3.0))
"""


def compile_in(home, **variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMP", "JAX_PERS"))}
    environment = {**kept, "XDG_CACHE_HOME": str(home), **variables}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    cache, result = done.stdout.split()
    assert result == "7.0"
    return cache


def test_programs_are_kept_in_the_users_cache_folder(tmp_path):
    cache = compile_in(tmp_path)
    assert cache.startswith(str(tmp_path / "psp_jax"))
    assert any(name.endswith("-cache") for name in os.listdir(cache))


def test_another_folder_of_the_user_is_respected(tmp_path):
    chosen = str(tmp_path / "chosen")
    settings = {"JAX_COMPILATION_CACHE_DIR": chosen}
    settings["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    assert compile_in(tmp_path / "home", **settings) == chosen
    assert os.listdir(chosen) and not (tmp_path / "home").exists()


def test_only_old_and_empty_programs_of_jax_are_deleted(tmp_path):
    folder = tmp_path / "jax-1"
    folder.mkdir()
    old = time.time() - 31 * 24 * 60 * 60
    for name in ("a-cache", "b-cache", "a-atime", "notes.txt"):
        (folder / name).write_text(name)
        if name != "b-cache":
            os.utime(folder / name, (old, old))
    (folder / "c-cache").touch()
    assert compile_cache.clean(tmp_path) == 3
    assert sorted(os.listdir(folder)) == ["b-cache", "notes.txt"]
