"""Measurements: commands, not timed tests."""
