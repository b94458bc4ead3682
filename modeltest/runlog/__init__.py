"""The run on disk: manifest and append-only segments."""
