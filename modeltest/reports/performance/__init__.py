"""Pure functions from a sweep's manifest and log to files and tables."""
