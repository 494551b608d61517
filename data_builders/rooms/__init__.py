"""Renders procedural indoor RGB-D scans in ScanNet's format, for users without its licence."""
