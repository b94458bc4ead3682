"""Honest accuracy and speed of audio language models on any accelerator."""

__version__ = "0.1.0"
