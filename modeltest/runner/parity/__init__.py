"""Runs two sides of a parity check, one after the other, and keeps a reference in a file."""
