"""RGB-D recordings as people have them on disk."""
