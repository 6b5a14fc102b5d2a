"""Data sets of windows that are cut from annotated videos whose features are on disk."""
