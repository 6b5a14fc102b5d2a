"""Comparisons: a grid of runs from one config, trained by one process per device."""
