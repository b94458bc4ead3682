"""Pure functions from manifest and log to files and tables."""
