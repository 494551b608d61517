"""Compares runs: tables, curves and pictures as Markdown, PNG files and one HTML page."""
