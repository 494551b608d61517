"""Holds the version of psp_jax: `setup.py`, `psp_jax.__version__` and `--version` read it here."""

__version__ = "0.2.0"
