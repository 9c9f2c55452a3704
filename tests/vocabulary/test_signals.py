"""Waiting for signals: the rows, what the wait returns, timeouts, and one wait per address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_openworkflow import RunHandle, Step, send_signal, workflow
from django_openworkflow.durations import one_year_after
from django_openworkflow.exceptions import InvalidDuration, InvalidInput
from django_openworkflow.models import SignalDelivery
from django_openworkflow.testing import advance, run_until_idle
from tests.engine.passes import attempts_of, database_now, noting, step_names, tick

pytestmark = pytest.mark.django_db


def start_waiting(**options: Any) -> RunHandle[Any]:
    """Start a run that waits for "approval", and let it park."""

    @workflow("waiting")
    def waiting(step: Step) -> list[Any]:
        payload = step.wait_for_signal("approval", **options)
        return ["nothing"] if payload is None else ["data", payload.data]

    handle = waiting.start()
    run_until_idle()
    return handle


def due_at(handle: RunHandle[Any]) -> datetime:
    """Return when a run that has not ended may be claimed."""
    moment = handle.run.available_at
    assert moment is not None
    return moment


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- the rows -----------------------------------------------------------------------------------


def test_a_wait_is_a_row_and_the_run_is_parked_until_the_wait_times_out() -> None:
    before = database_now()
    handle = start_waiting(timeout="1h")
    after = database_now()

    (attempt,) = attempts_of(handle)
    run = handle.run
    assert (attempt.step_name, attempt.kind, attempt.status) == (
        "approval",
        "signal-wait",
        "running",
    )
    assert attempt.context == {
        "kind": "signal-wait",
        "signal": "approval",
        "timeoutAt": iso(due_at(handle)),
    }
    assert (attempt.output, attempt.error, attempt.config) == (None, None, {})
    assert attempt.finished_at is None
    assert (run.status, run.worker_id) == ("running", None)
    hour = timedelta(hours=1)
    assert before + hour <= due_at(handle) <= after + hour + timedelta(milliseconds=1)


def test_a_signal_is_one_delivery_row_that_wakes_the_run() -> None:
    handle = start_waiting()
    (attempt,) = attempts_of(handle)

    assert send_signal("approval", {"ok": True}) == [handle.id]
    (delivery,) = SignalDelivery.objects.all()
    assert (delivery.namespace_id, delivery.signal) == ("default", "approval")
    assert (delivery.workflow_run_id, delivery.step_attempt_id) == (handle.id, attempt.pk)
    assert (delivery.data, delivery.sender_idempotency_key) == ({"ok": True}, None)
    assert due_at(handle) <= database_now()
    assert attempts_of(handle)[0].status == "running"  # the run completes it when it replays

    run_until_idle()
    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.output) == ("completed", {"data": {"ok": True}})
    assert attempt.finished_at is not None
    assert handle.result(timeout=0) == ["data", {"ok": True}]


def test_a_signal_without_data_is_a_delivery_of_none() -> None:
    handle = start_waiting()
    send_signal("approval")
    is_null = SignalDelivery.objects.filter(data__isnull=True)
    assert is_null.count() == 1
    run_until_idle()

    assert attempts_of(handle)[0].output == {"data": None}
    assert handle.result(timeout=0) == ["data", None]


@pytest.mark.parametrize("data", [0, False, "", [], {}, {"a": [1, {"ü": None}]}, 1.5])
def test_data_comes_through_as_it_was_sent(data: object) -> None:
    handle = start_waiting()
    send_signal("approval", data)
    run_until_idle()

    assert handle.result(timeout=0) == ["data", data]


def test_the_step_is_named_after_the_signal_or_as_it_is_told() -> None:
    @workflow("named")
    def named(step: Step) -> None:
        step.run("go", lambda: None)
        step.wait_for_signal("go", timeout="1h")
        step.wait_for_signal("stop", name="go", timeout="1h")

    handle = named.start()
    for _ in range(3):
        tick("1h")

    assert step_names(handle) == ["go", "go:1", "go:2"]
    assert handle.status == "completed"


def test_a_replay_returns_what_was_received_and_waits_for_nothing() -> None:
    effects: list[str] = []

    @workflow("replaying")
    def replaying(step: Step) -> list[Any]:
        first = step.wait_for_signal("first")
        step.run("effect", noting(effects, "effect"))
        step.sleep("pause", "1h")
        return [first and first.data, type(first).__name__]

    handle = replaying.start()
    run_until_idle()
    send_signal("first", 7)
    run_until_idle()
    assert send_signal("first", 8) == []
    tick("1h")

    assert handle.result(timeout=0) == [7, "SignalPayload"]
    assert effects == ["effect"]


# --- timeouts -----------------------------------------------------------------------------------


def test_a_wait_that_times_out_returns_none_and_keeps_sql_null() -> None:
    handle = start_waiting(timeout="1h")
    assert tick("59m") == 0
    assert tick("1m") == 1

    (attempt,) = attempts_of(handle)
    assert (attempt.status, attempt.output, attempt.error) == ("completed", None, None)
    assert type(attempt).objects.filter(pk=attempt.pk, output__isnull=True).exists()
    assert handle.result(timeout=0) == ["nothing"]


def test_a_replay_of_a_wait_that_timed_out_returns_none_again() -> None:
    @workflow("replaying")
    def replaying(step: Step) -> bool:
        payload = step.wait_for_signal("approval", timeout="1h")
        step.sleep("pause", "1h")
        return payload is None

    handle = replaying.start()
    run_until_idle()
    tick("1h")
    tick("1h")

    assert handle.result(timeout=0) is True


def test_a_signal_that_came_before_the_timeout_counts_though_the_run_wakes_after_it() -> None:
    handle = start_waiting(timeout="1h")
    send_signal("approval", "in time")
    tick("2h")

    assert handle.result(timeout=0) == ["data", "in time"]


def test_a_signal_after_the_timeout_is_received_as_long_as_the_run_has_not_noticed() -> None:
    """As in the original: the delivery is looked up before the timeout is checked."""
    handle = start_waiting(timeout="1h")
    at_once = due_at(handle)
    assert at_once > database_now()
    advance("1h")
    assert send_signal("approval", "late") == [handle.id]
    run_until_idle()

    assert handle.result(timeout=0) == ["data", "late"]


def test_without_a_timeout_a_wait_ends_the_same_time_a_calendar_year_later() -> None:
    before = database_now()
    handle = start_waiting()
    ends_at = due_at(handle)

    assert one_year_after(before) <= ends_at
    assert ends_at <= one_year_after(database_now()) + timedelta(milliseconds=1)
    assert attempts_of(handle)[0].context["timeoutAt"] == iso(ends_at)
    tick(ends_at - database_now() + timedelta(seconds=1))
    assert handle.result(timeout=0) == ["nothing"]


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ("2026-01-31T08:00:00.123", "2027-01-31T08:00:00.123"),
        ("2027-03-01T00:00:00", "2028-03-01T00:00:00"),  # 366 days
        ("2027-02-28T23:59:59", "2028-02-28T23:59:59"),
        ("2028-02-28T12:00:00", "2029-02-28T12:00:00"),  # 366 days
        ("2028-02-29T12:00:00", "2029-03-01T12:00:00"),
    ],
)
def test_a_calendar_year(begins: str, ends: str) -> None:
    begin = datetime.fromisoformat(begins).replace(tzinfo=UTC)

    assert one_year_after(begin) == datetime.fromisoformat(ends).replace(tzinfo=UTC)


def test_a_wait_that_another_client_left_without_a_timeout_lasts_a_year() -> None:
    handle = start_waiting(timeout="1h")
    (attempt,) = attempts_of(handle)
    type(attempt).objects.filter(pk=attempt.pk).update(
        context={"kind": "signal-wait", "signal": "approval", "timeoutAt": None}
    )
    tick("1h")

    assert handle.status == "running"
    assert due_at(handle) == one_year_after(attempt.created_at)


def test_a_timeout_is_an_absolute_moment_where_it_is_a_datetime() -> None:
    ends_at = datetime(2999, 5, 17, 8, 0, 0, 250_000, tzinfo=UTC)
    handle = start_waiting(timeout=ends_at)

    assert due_at(handle) == ends_at
    assert attempts_of(handle)[0].context["timeoutAt"] == "2999-05-17T08:00:00.250Z"


@pytest.mark.parametrize("timeout", ["0s", timedelta(), datetime(2020, 1, 1, tzinfo=UTC)])
def test_a_wait_that_is_over_before_it_began_returns_none_at_once(timeout: object) -> None:
    assert start_waiting(timeout=timeout).result(timeout=0) == ["nothing"]


@pytest.mark.parametrize("timeout", ["-1s", "soon", timedelta(-1), datetime(2999, 1, 1), 5])  # noqa: DTZ001 - a naive one is what is refused
def test_a_wrong_timeout_is_refused_before_anything_is_saved(timeout: object) -> None:
    refused: list[type[InvalidInput]] = []

    @workflow("wrong")
    def wrong(step: Step) -> None:
        try:
            step.wait_for_signal("approval", timeout=timeout)  # type: ignore[arg-type]
        except InvalidInput as error:
            refused.append(type(error))
        step.run("approval", lambda: None)  # the name is still free

    handle = wrong.start()
    run_until_idle()

    assert refused == [InvalidDuration]
    assert [(each.step_name, each.kind) for each in attempts_of(handle)] == [
        ("approval", "function")
    ]


@pytest.mark.parametrize("address", ["", "a\x00b", "a\ud800", None, 7])
def test_a_wrong_address_is_refused_before_anything_is_saved(address: object) -> None:
    @workflow("wrong")
    def wrong(step: Step) -> None:
        step.wait_for_signal(address)  # type: ignore[arg-type]

    handle = wrong.start()
    run_until_idle()

    assert handle.run.error["name"] == "InvalidInput"
    assert attempts_of(handle) == []


# --- one wait per address -----------------------------------------------------------------------


def test_the_same_address_can_be_waited_for_again_when_the_first_wait_is_over() -> None:
    @workflow("again")
    def again(step: Step) -> list[Any]:
        waits = [step.wait_for_signal("tick", timeout="1h") for _ in range(3)]
        return [wait and wait.data for wait in waits]

    handle = again.start()
    run_until_idle()
    send_signal("tick", 1)
    run_until_idle()
    tick("1h")
    assert send_signal("tick", 3) == [handle.id]
    run_until_idle()

    assert handle.result(timeout=0) == [1, None, 3]
    assert step_names(handle) == ["tick", "tick:1", "tick:2"]
    assert SignalDelivery.objects.count() == 2
