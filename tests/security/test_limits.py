"""Every cost that others can cause has a limit, and a clear error beyond it."""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_openworkflow import Step, send_signal, waiting, workflow
from django_openworkflow.durations import parse_duration
from django_openworkflow.exceptions import (
    InvalidDuration,
    InvalidInput,
    InvalidPayload,
    ResultTimeout,
    RunNotFound,
)
from django_openworkflow.handles import RunHandle
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from tests.factories import WorkflowRunFactory

pytestmark = pytest.mark.django_db


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


BOMBS = {
    "too large": "x" * 1_048_577,
    "too deep": nested(101),
    "far too deep": nested(5_000),
    "too many digits": 10**5_000,
    "too many items": [0] * 1_000_000,
    "too many keys": {f"key-{number}": 0 for number in range(200_000)},
    "wide and shared": [[["x" * 1000] * 100] * 100] * 100,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_at_the_call_and_nothing_is_written(bomb: str) -> None:
    with registry.isolated():

        @workflow("bombed")
        def bombed(step: Step, value: Any) -> None:
            """Never runs."""

        for call in (lambda: bombed.start(BOMBS[bomb]), lambda: send_signal("s", BOMBS[bomb])):
            with (
                CaptureQueriesContext(
                    connection,
                ) as queries,
                pytest.raises(InvalidPayload),
            ):
                call()
            assert len(queries) == 0
    assert not WorkflowRun.objects.exists()


def test_a_history_has_an_end() -> None:
    """A loop without end stops at the limit, with an error that says so."""
    with registry.isolated():

        @workflow("endless")
        def endless(step: Step) -> None:
            while True:
                step.run("again", lambda: None)

        handle = endless.start()
        run_until_idle()
        error = handle.run.error
    assert error["name"] == "StepLimitExceededError"
    assert handle.run.step_attempts.count() == error["limit"]


def test_a_name_has_an_end() -> None:
    long = "x" * 501
    with registry.isolated():

        @workflow("named")
        def named(step: Step) -> None:
            """Never runs."""

        for give in (
            lambda: send_signal(long),
            lambda: send_signal("x", idempotency_key=long),
            lambda: named.using(step_name=long),
            lambda: named.using(idempotency_key=long),
            lambda: workflow(long)(named.fn),
        ):
            with pytest.raises(InvalidInput):
                give()


def test_a_hostile_duration_takes_no_time() -> None:
    began = time.thread_time()
    for text in ("1" * 100_000, "1 " * 50_000, "d" * 100_000, "-" * 100_000, " " * 100_000 + "d"):
        with pytest.raises(InvalidDuration):
            parse_duration(text)
    assert time.thread_time() - began < 2


# --- waiting for a result -----------------------------------------------------------------------


def test_result_asks_ever_less_often_and_only_for_the_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(waiting, "monotonic", lambda: math.fsum(pauses))
    monkeypatch.setattr(waiting, "_sleep", lambda _wake, seconds: pauses.append(seconds))
    handle: RunHandle[Any] = RunHandle(WorkflowRunFactory.create(input={"a": "b"}).pk)
    with CaptureQueriesContext(connection) as queries, pytest.raises(ResultTimeout):
        handle.result(timeout=4)
    looked_after = [0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 0.73]
    assert pauses == pytest.approx(looked_after)
    assert len(queries) == len(pauses)
    assert not [query for query in queries if '"input"' in query["sql"]]


def test_a_result_that_is_there_takes_two_queries() -> None:
    handle: RunHandle[Any] = RunHandle(WorkflowRunFactory.create(completed=True).pk)
    with CaptureQueriesContext(connection) as queries:
        handle.result()
    assert len(queries) == 2


# --- namespaces and guesses ---------------------------------------------------------------------


def test_a_foreign_run_and_a_missing_one_are_told_in_the_same_words() -> None:
    foreign = WorkflowRunFactory.create(namespace_id="another").pk
    missing = new_id()
    messages = set()
    for pk in (foreign, missing):
        for verb in (WorkflowRun.objects.cancel, WorkflowRun.objects.retry, RunHandle.get):
            with pytest.raises(RunNotFound) as caught:
                verb(pk)
            messages.add(str(caught.value).replace(str(pk), "ID"))
    assert messages == {"Workflow run ID does not exist"}


def test_ids_cannot_be_guessed_from_each_other() -> None:
    """An id ends in 32 bits that its neighbour does not tell, also within one millisecond.

    Each bit differs from one id to the next half of the time, as a counter's bits would not. The
    bounds are twelve standard deviations away: chance does not get there.
    """
    ids = [new_id() for _ in range(1_001)]
    assert len(set(ids)) == len(ids)
    for bit in range(32):
        flips = sum((one.int ^ next_one.int) >> bit & 1 for one, next_one in pairwise(ids))
        assert 300 < flips < 700, f"bit {bit}"
