"""Decode, check and resample clips."""
