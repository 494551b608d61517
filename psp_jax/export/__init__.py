"""Exports trained networks to formats that run without this package."""
