"""Data parallel: batches dealt to workers, each with a model of its own; no collective."""
