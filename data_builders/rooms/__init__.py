"""Procedural indoor RGB-D scans in ScanNet's on-disk format, for those without its licence."""
