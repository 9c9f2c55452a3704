"""Ids of runs and step attempts: UUIDv7, made in Python, so that rows sort by their age."""

from __future__ import annotations

import sys
from uuid import UUID

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new id. Migrations name this function: it is the same for every Python."""
    return uuid7()


def as_uuid(value: object) -> UUID | None:
    """Read an id as people and other clients give it; None when it is no UUID at all."""
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        return None
    try:
        return UUID(value)
    except ValueError:
        return None
