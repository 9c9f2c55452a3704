"""Calls that type checkers must accept, with the types that they must find. Never executed."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type
from uuid import UUID

from django_openworkflow import (
    AsyncStep,
    RetryPolicy,
    RunHandle,
    SignalPayload,
    Step,
    asend_signal,
    send_signal,
    workflow,
)
from django_openworkflow.models import WorkflowRun


def price(order_id: int, *, express: bool = False) -> float:
    return order_id + express


async def aprice(order_id: int, *, express: bool = False) -> float:
    return price(order_id, express=express)


def refund(amount: float) -> None:
    """Undo a price."""


async def arefund(amount: float) -> None:
    """Undo a price."""


@workflow
def bare(step: Step, name: str) -> str:
    return name


@workflow
async def bare_async(step: AsyncStep, name: str) -> str:
    return name


@workflow("order", version="2", queue="orders", retry_policy=RetryPolicy(maximum_attempts=2))
def order(step: Step, order_id: int, *, express: bool = False) -> dict[str, float]:
    assert_type(step.run("plain", price, order_id), float)
    assert_type(step.run("named", price, order_id, express=True), float)
    once = RetryPolicy(maximum_attempts=1)
    assert_type(step.run("retried", price, order_id, retry_policy=once), float)
    assert_type(step.run("undone", price, order_id, compensate=refund), float)
    assert_type(step.run("both", price, 1, retry_policy=once, compensate=refund), float)
    assert_type(step.run("lambda", lambda: 7), int)
    assert_type(step.transaction("written", price, order_id), float)
    assert_type(step.transaction("undone too", price, order_id, compensate=refund), float)
    assert_type(step.run_workflow(bare, "name"), str)
    assert_type(step.run_workflow(bare_async, name="name"), str)
    options = bare.using(step_name="child", timeout=timedelta(days=3))
    assert_type(step.run_workflow(options, "name"), str)
    assert_type(step.wait_for_signal("go", timeout="3d"), SignalPayload | None)
    assert_type(step.send_signal("go", {"ok": True}), list[str])
    assert_type(step.info.id, UUID)
    assert_type(step.cancel_requested, bool)
    step.sleep("pause", timedelta(days=7))
    step.gather(
        step.call("a", price, order_id, express=True),
        step.call("b", bare, "name"),
        return_exceptions=True,
    )
    return {"price": step.run("price", price, order_id, express=express)}


@workflow("async-order")
async def async_order(step: AsyncStep, order_id: int) -> float:
    once = RetryPolicy(maximum_attempts=1)
    assert_type(await step.run("sync", price, order_id), float)
    assert_type(await step.run("async", aprice, order_id, express=True), float)
    assert_type(await step.run("retried", aprice, order_id, retry_policy=once), float)
    assert_type(await step.run("undone", aprice, order_id, compensate=arefund), float)
    assert_type(await step.run("undone sync", price, order_id, compensate=refund), float)
    assert_type(await step.transaction("written", price, order_id), float)
    assert_type(await step.run_workflow(bare, "name"), str)
    assert_type(await step.wait_for_signal("go", timeout="3d"), SignalPayload | None)
    assert_type(await step.send_signal("go"), list[str])
    await step.gather(step.call("a", aprice, order_id), step.call("b", price, order_id))
    await step.sleep("pause", "7d")
    return await step.run("price", aprice, order_id)


def start() -> None:
    handle = order.start(7, express=True)
    assert_type(handle, RunHandle[dict[str, float]])
    assert_type(handle.result(timeout=60), dict[str, float])
    assert_type(handle.run, WorkflowRun)
    assert_type(handle.cancel(reason="duplicate", actor=None, cascade=True), WorkflowRun)
    assert_type(order.start_many([{"order_id": 1}]), list[RunHandle[dict[str, float]]])
    assert_type(order.using(priority=5, available_at="5m").start(7).result(), dict[str, float])
    assert_type(async_order.start(7).result(), float)
    assert_type(bare.start("name").result(), str)
    assert_type(send_signal("go", {"ok": True}, idempotency_key="once"), list[UUID])


async def astart() -> None:
    handle = await order.astart(7, express=True)
    assert_type(handle, RunHandle[dict[str, float]])
    assert_type(await handle.aresult(), dict[str, float])
    assert_type(await handle.acancel(reason="duplicate"), WorkflowRun)
    assert_type(await (await async_order.astart(order_id=7)).aresult(), float)
    assert_type(await asend_signal("go"), list[UUID])
