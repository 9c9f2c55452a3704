"""Calls that type checkers must refuse, in the lines marked so. Never executed."""

from __future__ import annotations

from django_openworkflow import AsyncStep, RetryPolicy, Step, asend_signal, send_signal, workflow
from tests.typing.right import aprice, arefund, async_order, bare, order, price, refund


def undo_text(text: str) -> None:
    """Undo something else."""


@workflow("wrong")
def wrong(step: Step) -> None:
    step.run("missing", price)  # type: ignore[call-overload]  # error
    step.run("kind", price, "7")  # type: ignore[call-overload]  # error
    step.run("unknown", price, 7, urgent=True)  # type: ignore[call-arg]  # error
    step.run("too-many", price, 7, 8)  # type: ignore[call-overload]  # error
    step.run("policy", price, 7, retry_policy="often")  # type: ignore[call-arg]  # error
    step.run("undo", price, 7, compensate=undo_text)  # type: ignore[misc]  # error
    step.run("no-function", 7)  # type: ignore[call-overload]  # error
    step.run(7, price, 7)  # type: ignore[call-overload]  # error
    step.transaction("kind", price, "7")  # type: ignore[call-overload]  # error
    step.transaction("undo", price, 7, compensate=undo_text)  # type: ignore[misc]  # error
    step.run_workflow(bare, 7)  # type: ignore[arg-type]  # error
    step.run_workflow(bare)  # type: ignore[call-arg]  # error
    step.run_workflow(price, 7)  # type: ignore[arg-type]  # error
    step.call("kind", price, "7")  # type: ignore[call-overload]  # error
    step.call("child", bare, 7)  # type: ignore[call-overload]  # error
    step.gather(price)  # type: ignore[arg-type]  # error
    step.sleep("pause", 7)  # type: ignore[arg-type]  # error
    step.wait_for_signal("go", timeout=7)  # type: ignore[arg-type]  # error
    text: str = step.run("result", price, 7)  # type: ignore[assignment]  # error
    child: int = step.run_workflow(bare, "name")  # type: ignore[assignment]  # error
    step.send_signal(text, child, name=7)  # type: ignore[arg-type]  # error


@workflow("wrong-async")
async def wrong_async(step: AsyncStep) -> None:
    await step.run("missing", aprice)  # type: ignore[call-overload]  # error
    await step.run("kind", aprice, "7")  # type: ignore[call-overload]  # error
    await step.run("policy", aprice, 7, retry_policy="often")  # type: ignore[call-arg]  # error
    await step.run("undo", aprice, 7, compensate=undo_text)  # type: ignore[misc]  # error
    await step.run_workflow(bare, 7)  # type: ignore[arg-type]  # error
    await step.gather(aprice)  # type: ignore[arg-type]  # error
    await step.sleep("pause", 7)  # type: ignore[arg-type]  # error
    text: str = await step.run("result", aprice, 7)  # type: ignore[call-overload]  # error
    late: float = step.run("not-awaited", aprice, 7)  # type: ignore[assignment]  # error
    print(text, late)  # noqa: T201


def start() -> None:
    order.start()  # type: ignore[call-arg]  # error
    order.start("7")  # type: ignore[arg-type]  # error
    order.start(7, 8)  # type: ignore[arg-type, call-arg]  # error
    order.start(7, urgent=True)  # type: ignore[call-arg]  # error
    order.start_many([7])  # type: ignore[list-item]  # error
    order.using(priority="high")  # type: ignore[arg-type]  # error
    order.using(colour="red")  # type: ignore[call-arg]  # error
    text: str = order.start(7).result()  # type: ignore[assignment]  # error
    number: int = async_order.start(7).result()  # type: ignore[assignment]  # error
    order.start(7).cancel(cascade="yes")  # type: ignore[arg-type]  # error
    order.start(7).result(timeout=[text, number])  # type: ignore[arg-type]  # error
    send_signal(7)  # type: ignore[arg-type]  # error
    workflow("name", colour="red")  # type: ignore[call-overload]  # error
    workflow("name", retry_policy="often")  # type: ignore[call-overload]  # error
    RetryPolicy(maximum_attempts="many")  # type: ignore[arg-type]  # error
    RetryPolicy(3)  # type: ignore[arg-type]  # error


async def astart() -> None:
    await order.astart()  # type: ignore[call-arg]  # error
    await order.astart("7")  # type: ignore[arg-type]  # error
    handle = await order.astart(7)
    text: str = await handle.aresult()  # type: ignore[assignment]  # error
    await handle.acancel(cascade="yes")  # type: ignore[arg-type]  # error
    await asend_signal(7)  # type: ignore[arg-type]  # error
    order.astart(7).result()  # type: ignore[attr-defined]  # error
    print(text, refund, arefund)  # noqa: T201
