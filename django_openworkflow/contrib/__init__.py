"""Doors that are optional: each needs a package of its own, and nothing imports them."""
