"""Calls of ``AsyncStep.transaction`` that type checkers must refuse. Never executed."""

from __future__ import annotations

from django_openworkflow import AsyncStep, workflow
from tests.typing.right import price


def undo_text(text: str) -> None:
    """Undo something else."""


@workflow("wrong-transaction")
async def wrong_transaction(step: AsyncStep) -> None:
    await step.transaction("kind", price, "7")  # type: ignore[call-overload]  # error
    await step.transaction("missing", price)  # type: ignore[call-overload]  # error
    await step.transaction("policy", price, 7, retry_policy="often")  # type: ignore[call-arg]  # error
    await step.transaction("undo", price, 7, compensate=undo_text)  # type: ignore[misc]  # error
