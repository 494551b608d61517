"""Sets up JAX before it is imported, here and in all processes that the tests start."""

import atexit
import gc
import importlib.metadata
import os
import shutil
import tempfile

# Most of a test's time would go into optimising programs that run once.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true") == "true":
    if importlib.metadata.version("jaxlib").startswith("0.10."):  # Later ones end at this flag.
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # No process compiles what another one has compiled.
    _folder = tempfile.mkdtemp(prefix="psp_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _folder
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
# Tracing makes many objects, few of them garbage.
gc.set_threshold(100_000, 20, 20)
