"""The guide to namespaces, queues and priorities."""

from __future__ import annotations

import pytest
from django.test import override_settings

from django_openworkflow import RunHandle, Step, send_signal, workflow
from django_openworkflow.exceptions import RunNotFound
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import run_until_idle
from tests.guides.playing import outcome

pytestmark = pytest.mark.django_db

STAGING = override_settings(OPENWORKFLOW={"NAMESPACE": "staging"})


def test_a_run_of_another_namespace_does_not_exist() -> None:
    @workflow("greet")
    def greet(step: Step) -> str:
        return "Hello"

    with STAGING:
        handle = greet.start()

    assert not WorkflowRun.objects.exists()
    with pytest.raises(RunNotFound):
        RunHandle.get(handle.id)
    with pytest.raises(RunNotFound):
        WorkflowRun.objects.cancel(handle.id)


def test_workers_claim_runs_of_their_namespace() -> None:
    @workflow("greet")
    def greet(step: Step) -> str:
        return "Hello"

    with STAGING:
        handle = greet.start()

    assert run_until_idle() == 0
    with STAGING:
        assert outcome(handle) == "Hello"


def test_a_signal_stays_in_its_namespace() -> None:
    @workflow("wait")
    def wait(step: Step) -> None:
        step.wait_for_signal("go")

    with STAGING:
        handle = wait.start()
        run_until_idle()

    assert send_signal("go") == []
    with STAGING:
        assert send_signal("go") == [handle.id]


def test_a_key_belongs_to_a_namespace() -> None:
    @workflow("greet")
    def greet(step: Step) -> None: ...

    once = greet.using(idempotency_key="k")
    with STAGING:
        theirs = once.start()

    assert once.start() != theirs


def test_a_workflow_has_a_queue() -> None:
    @workflow("mail", queue="mail")
    def mail(step: Step) -> None: ...

    assert mail.start().run.queue == "mail"


def test_what_is_more_urgent_goes_first() -> None:
    order: list[str] = []

    @workflow("note")
    def note(step: Step, what: str) -> None:
        step.run("note", order.append, what)

    for what, priority in {"low": -1, "normal": 0, "high": 9}.items():
        note.using(priority=priority).start(what)
    run_until_idle()

    assert order == ["high", "normal", "low"]
