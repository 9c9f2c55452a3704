"""Transactions that leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import transaction


class Undo(Exception):
    """Rolls a transaction back."""


@contextmanager
def undone() -> Iterator[None]:
    """Open a transaction that rolls back at the end of the block."""
    with suppress(Undo), transaction.atomic():
        yield
        raise Undo
