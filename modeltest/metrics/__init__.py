"""Scores over samples, with intervals."""
