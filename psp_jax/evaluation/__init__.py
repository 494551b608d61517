"""Evaluates a split: metrics, partitions, tables and plots."""
