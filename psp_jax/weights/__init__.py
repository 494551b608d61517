"""Weights that people have: published files into the package's variables, and back out."""
