"""Clips from video files: what a data set lists, and the pipeline that reads it."""
