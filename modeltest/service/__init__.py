"""Serves a model that runs in this process over HTTP."""
