"""Builders of prepared data sets; they write files that `psp_jax.data` reads."""
