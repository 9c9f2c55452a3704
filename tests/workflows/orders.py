"""A workflow to define and to start, and a text that is too long for its columns."""

from __future__ import annotations

from typing import TypeAlias

from django_openworkflow import Step, Workflow

Orders: TypeAlias = Workflow[..., None]
# PostgreSQL refuses index rows beyond 2.7 kB, and this does not compress.
LONG = "".join(chr(0x4E00 + number) for number in range(4000))


def order(step: Step, order_id: int, *, express: bool = False) -> None:
    return None
