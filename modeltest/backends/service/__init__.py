"""Models that a service runs elsewhere, asked over HTTP."""
