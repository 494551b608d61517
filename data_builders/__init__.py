"""Builds the data sets that `psp_jax.data` reads."""
