"""The demo: what happens in it, what it checks, and how it is printed."""
