"""Names that people give: of workflows, versions, queues, steps, signals and keys."""

from __future__ import annotations

from typing import Final

# Namespace, name and key share index rows, and PostgreSQL refuses index rows beyond 2.7 kB.
MAX_NAME_BYTES: Final = 500


def is_printable(name: object) -> bool:
    """Whether this is text that a database can index and a log can show on one line.

    At most ``MAX_NAME_BYTES`` bytes of UTF-8.
    """
    if not isinstance(name, str) or not name or len(name) > MAX_NAME_BYTES:
        return False
    # Lone surrogates are not printable, so this encodes.
    return name.isprintable() and len(name.encode()) <= MAX_NAME_BYTES


def name_problem(what: str, name: object) -> str:
    """Say what is wrong with a name that is not printable."""
    shown = repr(name)
    if len(shown) > 2 * MAX_NAME_BYTES:
        shown = f"{shown[:40]}… ({len(shown)} characters)"
    return f"{what} must be printable text of 1 to {MAX_NAME_BYTES} bytes, not {shown}"
