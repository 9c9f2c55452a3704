"""Start a run, send a signal, retry: forms that refuse what does not fit, and what they leave."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.utils import timezone
from pydantic import BaseModel

from django_openworkflow import Step, workflow
from django_openworkflow.models import BufferedSignal, SignalDelivery, WorkflowRun
from django_openworkflow.states import RunStatus
from tests.admin.addresses import messages_of, on_run, url, url_of
from tests.admin.conftest import refresh
from tests.admin.rows import make_attempt, make_run

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def order(**fields: Any) -> dict[str, Any]:
    """Return what the start page posts."""
    chosen = {"workflow": '["process-order", "2"]', "input": '{"order_id": 7}', "priority": "0"}
    return {**chosen, **fields}


def errors_of(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    return {name: list(map(str, some)) for name, some in response.context["form"].errors.items()}


# --- start ----------------------------------------------------------------------------------------


def test_a_run_is_started_and_recorded(operator: Client) -> None:
    response = operator.post(url("start_run"), order(input='{"order_id": 7, "express": true}'))
    run = WorkflowRun.objects.get()
    assert url_of(response) == on_run("change", run)
    assert (run.workflow_name, run.version, run.status) == ("process-order", "2", "pending")
    assert run.input == {"order_id": 7, "express": True}
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.action_flag) == (str(run.pk), ADDITION)
    assert entry.change_message == "Started."
    assert messages_of(response)[0][1].startswith("Started workflow run ")


def test_options_reach_the_run(operator: Client) -> None:
    fields = {
        "available_at": "5m",
        "deadline_at": "2999-12-31 18:00",
        "idempotency_key": "order-7",
        "priority": "-3",
    }
    operator.post(url("start_run"), order(**fields))
    run = WorkflowRun.objects.get()
    assert run.available_at is not None
    assert timedelta(minutes=4) < run.available_at - timezone.now() < timedelta(minutes=6)
    assert run.deadline_at == datetime(2999, 12, 31, 18, tzinfo=UTC)
    assert (run.idempotency_key, run.priority) == ("order-7", -3)


def test_a_key_that_has_started_a_run_starts_no_other(operator: Client) -> None:
    operator.post(url("start_run"), order(idempotency_key="once"))
    WorkflowRun._base_manager.update(created_at=timezone.now() - timedelta(hours=1))
    response = operator.post(url("start_run"), order(idempotency_key="once"))
    run = WorkflowRun.objects.get()
    assert url_of(response) == on_run("change", run)
    assert messages_of(response)[-1][0] == "warning"
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ({"workflow": '["nobody", null]'}, "workflow", "not one of the available choices"),
        ({"input": "{order_id: 7}"}, "input", "not valid JSON"),
        ({"input": '{"order_id": NaN}'}, "input", "NaN is not a JSON number"),
        ({"input": "[" * 100_000}, "input", "recursion"),
        ({"input": '{"order": 7}'}, "input", "does not fit"),
        ({"input": ""}, "input", "order_id"),
        ({"input": '{"order_id": "\\u0000"}'}, "input", "cannot be stored"),
        ({"available_at": "soon"}, "available_at", "a duration: 5m, 2h"),
        ({"deadline_at": "-5m"}, "deadline_at", "a duration"),
        ({"deadline_at": "2020-12-31 18:00"}, "deadline_at", "has passed already"),
        ({"deadline_at": "2h", "available_at": "3h"}, "deadline_at", "may not begin before"),
        ({"deadline_at": "2h", "available_at": "2h"}, "deadline_at", "may not begin before"),
        (
            {"deadline_at": "5m", "available_at": "2999-12-31 18:00"},
            "deadline_at",
            "may not begin before",
        ),
        ({"idempotency_key": "x" * 501}, "idempotency_key", "at most 500 bytes"),
        ({"idempotency_key": "a\tb"}, "idempotency_key", "Printable"),
        ({"priority": "9999999999"}, "priority", "less than or equal"),
        ({"priority": "high"}, "priority", "whole number"),
    ],
)
def test_what_does_not_fit_is_said_at_its_field(
    operator: Client, fields: dict[str, str], name: str, words: str
) -> None:
    errors = errors_of(operator.post(url("start_run"), order(**fields)))
    assert list(errors) == [name]
    assert words in errors[name][0]
    assert not WorkflowRun._base_manager.exists()
    assert not LogEntry.objects.exists()


class Basket(BaseModel):
    customer: str
    amounts: list[int]


@dataclass
class Refund:
    order_id: int

    def __post_init__(self) -> None:
        if self.order_id < 1:
            message = "order_id must be positive"
            raise ValueError(message)


def test_a_schema_tells_each_place_that_is_wrong(operator: Client) -> None:
    @workflow("buy", schema=Basket)
    def buy(step: Step, basket: Basket) -> int:
        return sum(basket.amounts)

    wrong = '{"amounts": [1, "x", 3, "y"]}'
    response = operator.post(url("start_run"), order(workflow='["buy", null]', input=wrong))
    errors = errors_of(response)["input"]
    assert [error.partition(":")[0] for error in errors] == ["customer", "amounts.1", "amounts.3"]
    right = '{"customer": "eva", "amounts": [1, 2]}'
    operator.post(url("start_run"), order(workflow='["buy", null]', input=right))
    assert WorkflowRun.objects.get().input == {"customer": "eva", "amounts": [1, 2]}


def test_a_dataclass_is_a_schema_too(operator: Client) -> None:
    @workflow("refund", schema=Refund)
    def refund(step: Step, asked: Refund) -> int:
        return asked.order_id

    response = operator.post(
        url("start_run"), order(workflow='["refund", null]', input='{"order_id": 0}')
    )
    assert errors_of(response)["input"] == ["order_id must be positive"]


def test_the_page_knows_what_workflows_take(operator: Client) -> None:
    response = operator.get(url("start_run"), {"workflow": "process-order", "version": "2"})
    assert response.context["form"].initial["input"] == '{\n  "order_id": null\n}'
    page = response.content.decode()
    assert "order_id: int, *, express" in page.replace("&#x27;", "") or "order_id: int" in page
    assert "Fulfil an order." in page


def test_the_page_knows_what_schemas_take(operator: Client) -> None:
    @workflow("buy", schema=Basket)
    def buy(step: Step, basket: Basket) -> int:
        return sum(basket.amounts)

    @workflow("refund", schema=Refund)
    def refund(step: Step, asked: Refund) -> int:
        return asked.order_id

    @workflow("count", schema=int)
    def count(step: Step, number: int) -> int:
        return number

    for name, fields in (
        ("buy", ["customer", "amounts"]),
        ("refund", ["order_id"]),
        ("count", ["number"]),
    ):
        response = operator.get(url("start_run"), {"workflow": name})
        assert list(json.loads(response.context["form"].initial["input"])) == fields
    shown = {one.name: one.signature for one in response.context["definitions"]}
    assert shown["buy"] == "customer: str, amounts: list[int]"
    assert shown["refund"] == "order_id: int"


def test_a_run_can_be_started_again(operator: Client) -> None:
    run = make_run(
        workflow_name="process-order", version="2", completed=True, input={"order_id": 3}
    )
    page = operator.get(on_run("change", run)).content.decode()
    address = url("start_run") + f"?again={run.pk}"
    assert f'href="{address}"' in page
    initial = operator.get(address).context["form"].initial
    assert initial == {"workflow": '["process-order", "2"]', "input": '{\n  "order_id": 3\n}'}


def test_no_workflow_is_chosen_before_somebody_chooses(operator: Client) -> None:
    @workflow("a-first-one")
    def a_first_one(step: Step) -> None: ...

    assert operator.get(url("start_run")).context["form"]["workflow"].value() is None
    errors = errors_of(operator.post(url("start_run"), order(workflow="", input="")))
    assert list(errors) == ["workflow"]
    assert not WorkflowRun._base_manager.exists()


def test_runs_of_unknown_workflows_cannot_be_started_again(operator: Client) -> None:
    run = make_run(workflow_name="forgotten", completed=True)
    assert "start_run" not in operator.get(on_run("change", run)).content.decode()
    assert operator.get(url("start_run"), {"again": "nonsense"}).status_code == 200


# --- signals --------------------------------------------------------------------------------------


def test_the_awaited_signal_is_suggested_and_delivered(operator: Client) -> None:
    run = make_run(parked=True)
    make_attempt(workflow_run=run, signal_wait=True)
    page = operator.get(on_run("send_signal", run))
    assert '<option value="approval">' in page.content.decode()
    assert page.context["form"]["signal"].initial == "approval"
    data = {"signal": "approval", "data": '{"ok": true}'}
    response = operator.post(on_run("send_signal", run), data)
    assert url_of(response) == on_run("change", run)
    assert messages_of(response) == [("success", "1 workflow run received the signal.")]
    assert SignalDelivery.objects.get().data == {"ok": True}
    assert LogEntry.objects.get().change_message == 'Sent signal "approval".'


def test_every_run_that_received_it_has_a_record(operator: Client) -> None:
    runs = [make_run(parked=True) for _ in range(2)]
    for run in runs:
        make_attempt(workflow_run=run, signal_wait=True)
    sender = make_run(running=True)
    response = operator.post(on_run("send_signal", sender), {"signal": "approval"})
    assert messages_of(response) == [("success", "2 workflow runs received the signal.")]
    recorded = set(LogEntry.objects.values_list("object_id", flat=True))
    assert recorded == {str(run.pk) for run in [*runs, sender]}


@pytest.mark.parametrize("is_buffered", [False, True])
def test_a_repeated_signal_is_told_and_not_recorded(operator: Client, *, is_buffered: bool) -> None:
    run = make_run(parked=True)
    if not is_buffered:
        make_attempt(workflow_run=run, signal_wait=True)
    data = {"signal": "approval", "idempotency_key": "once", "buffered": "on"}
    operator.post(on_run("send_signal", run), data)
    recorded = LogEntry.objects.count()
    late = make_attempt(workflow_run=make_run(parked=True), signal_wait=True)
    response = operator.post(on_run("send_signal", run), data)
    words = "This key was used before; nothing was sent again."
    assert messages_of(response)[-1:] == [("warning", words)]
    assert LogEntry.objects.count() == recorded == 1
    assert not SignalDelivery.objects.filter(step_attempt=late).exists()
    other = operator.post(on_run("send_signal", run), {**data, "idempotency_key": "twice"})
    assert messages_of(other)[-1] == ("success", "1 workflow run received the signal.")


def test_a_signal_for_nobody_is_lost_or_kept(operator: Client) -> None:
    run = make_run(running=True)
    response = operator.post(on_run("send_signal", run), {"signal": "later"})
    assert messages_of(response)[-1][0] == "warning"
    assert not BufferedSignal.objects.exists()
    response = operator.post(on_run("send_signal", run), {"signal": "later", "buffered": "on"})
    assert messages_of(response)[-1][0] == "success"
    assert BufferedSignal.objects.get().signal == "later"


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"signal": ""}, "signal"), ({"signal": "x" * 501}, "signal"), ({"data": "{"}, "data")],
)
def test_a_signal_that_does_not_fit_is_not_sent(
    operator: Client, fields: dict[str, str], name: str
) -> None:
    run = make_run(parked=True)
    make_attempt(workflow_run=run, signal_wait=True)
    response = operator.post(on_run("send_signal", run), {"signal": "approval", **fields})
    assert list(errors_of(response)) == [name]
    assert not SignalDelivery.objects.exists()
    assert not LogEntry.objects.exists()


def test_data_that_cannot_be_stored_is_said_at_its_field(operator: Client) -> None:
    run = make_run(parked=True)
    data = {"signal": "approval", "data": '"\\u0000"'}
    response = operator.post(on_run("send_signal", run), data)
    assert "cannot be stored" in errors_of(response)["data"][0]


# --- retry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", ["failed", "canceled"])
def test_an_ended_run_is_retried_and_recorded(operator: Client, trait: str) -> None:
    run = make_run(**{trait: True})
    response = operator.post(on_run("retry_run", run), {"reason": "fixed"})
    assert refresh(run).status == RunStatus.PENDING
    assert messages_of(response)[0][0] == "success"
    assert LogEntry.objects.get().change_message == "Retried. Reason: fixed"


@pytest.mark.parametrize("trait", ["running", "completed", "scheduled"])
def test_what_cannot_be_retried_is_told(operator: Client, trait: str) -> None:
    run = make_run(**{trait: True})
    response = operator.post(on_run("retry_run", run), {})
    expected = f"Cannot retry workflow run {run.pk} with status {run.status}"
    assert messages_of(response) == [("warning", expected)]
    assert refresh(run).status == run.status
    assert not LogEntry.objects.exists()
