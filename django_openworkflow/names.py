"""Names that people give: of workflows, versions, queues, steps, signals and keys."""

from __future__ import annotations


def is_printable(name: object) -> bool:
    """Whether this is text that a database can store and a log can show on one line."""
    return isinstance(name, str) and bool(name) and name.isprintable()
