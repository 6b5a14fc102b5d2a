"""Readers of annotations that are not labels of clips: captions, states, features, dense maps."""
