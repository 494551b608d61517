"""Reads RGB-D recordings from disk: `layouts.survey(folder)` finds them in any supported layout."""
