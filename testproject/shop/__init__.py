"""The demo app: a small shop."""
