"""Keeps a run alive: devices, processes, locks, signals, logs."""
