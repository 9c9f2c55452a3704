"""The back office of the demo: workflows of every kind, and a gallery of runs for the admin."""
