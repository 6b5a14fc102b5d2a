"""Data sets, multi-task sampling and synthetic scenes."""
