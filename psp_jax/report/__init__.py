"""Workdirs side by side: tables, curves and pictures as Markdown, PNG and one HTML page."""
