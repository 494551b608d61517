"""Metrics as sums and counts, computed on device."""
