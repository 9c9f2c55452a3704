"""The engine's own options where ``run`` takes them too. Never executed."""

from __future__ import annotations

from django_openworkflow import AsyncStep, RetryPolicy, Step, workflow
from tests.typing.right import aprice, price, refund

ONCE = RetryPolicy(maximum_attempts=1)


@workflow
def sync_options(step: Step) -> None:
    step.gather(
        step.call("a", price, 1, retry_policy=ONCE),
        step.call("b", price, 1, compensate=refund),
        step.call("c", price, 1, retry_policy=ONCE, compensate=refund),
    )


@workflow
async def async_options(step: AsyncStep) -> None:
    await step.transaction("a", price, 1, retry_policy=ONCE, compensate=refund)
    await step.gather(step.call("b", aprice, 1, retry_policy=ONCE, compensate=refund))
