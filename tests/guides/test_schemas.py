"""The guide to schema validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from django_openworkflow import Step, send_signal, workflow
from django_openworkflow.exceptions import InvalidInput, WorkflowFailed
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.guides.playing import outcome

pytestmark = pytest.mark.django_db


@dataclass
class Parcel:
    order_id: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight <= 0:
            message = "the weight must be positive"
            raise ValueError(message)


class Order(BaseModel):
    order_id: int


def lower(value: dict[str, str]) -> dict[str, str]:
    return {"email": value["email"].lower()}


def test_a_dataclass_checks_the_input_and_is_the_argument() -> None:
    @workflow("send", schema=Parcel)
    def send(step: Step, parcel: Parcel) -> float:
        return parcel.weight

    start: Any = send.start
    handle = start(order_id=7)

    assert handle.run.input == {"order_id": 7, "weight": 1.0}
    assert outcome(handle) == 1.0


def test_an_input_that_does_not_fit_starts_nothing() -> None:
    @workflow("send", schema=Parcel)
    def send(step: Step, parcel: Parcel) -> None: ...

    start: Any = send.start
    with pytest.raises(InvalidInput, match="the weight must be positive"):
        start(order_id=7, weight=-1)
    assert not WorkflowRun.objects.exists()


def test_a_pydantic_model_converts_the_input_and_names_what_is_wrong() -> None:
    @workflow("pack", schema=Order)
    def pack(step: Step, order: Order) -> int:
        return order.order_id

    start: Any = pack.start
    assert outcome(start(order_id="7")) == 7
    with pytest.raises(InvalidInput, match="order_id: Input should be a valid integer"):
        start(order_id="seven")


def test_a_callable_may_change_the_input() -> None:
    @workflow("subscribe", schema=lower)
    def subscribe(step: Step, email: str) -> str:
        return email

    handle = subscribe.start(email="Eva@Example.com")

    assert handle.run.input == {"email": "eva@example.com"}
    assert outcome(handle) == "eva@example.com"


def test_an_input_that_another_client_stored_is_checked_when_it_is_executed() -> None:
    @workflow("send", schema=Parcel)
    def send(step: Step, parcel: Parcel) -> None: ...

    start: Any = send.start
    handle = start(order_id=7)
    WorkflowRun.objects.filter(pk=handle.id).update(input={"order_id": 7, "weight": 0})

    with pytest.raises(WorkflowFailed, match="the weight must be positive"):
        outcome(handle)


def waiting() -> Any:
    @workflow("wait")
    def wait(step: Step) -> float | None:
        payload = step.wait_for_signal("parcel", schema=Parcel)
        return payload.data.weight if payload else None

    handle = wait.start()
    run_until_idle()
    return handle


def test_a_schema_checks_the_data_of_a_signal() -> None:
    handle = waiting()
    send_signal("parcel", {"order_id": 7, "weight": 2})

    assert outcome(handle) == 2


def test_a_signal_that_does_not_fit_fails_the_step() -> None:
    handle = waiting()
    assert send_signal("parcel", {"order_id": 7, "weight": 0}) == [handle.id]

    with pytest.raises(WorkflowFailed, match="Signal schema validation failed: the weight must be"):
        outcome(handle)
