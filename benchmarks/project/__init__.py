"""A small Django project whose worker is this package's contestant."""
