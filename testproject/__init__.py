"""A small Django project: the demo, and the settings of the test suite."""
