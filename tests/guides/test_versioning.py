"""The guide to versioning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import RunHandle, Step, workflow
from django_openworkflow.registry import registry
from django_openworkflow.testing import advance, run_until_idle
from tests.guides.playing import later, outcome

pytestmark = pytest.mark.django_db


def first(step: Step) -> str:
    step.run("collect", abs, 1)
    step.sleep("month", "1mo")
    return step.run("send", "sent".strip)


def deploy(fn: Callable[[Step], Any]) -> None:
    """Let the code under the name be another one from now on."""
    registry._workflows.clear()
    workflow("invoice")(fn)


def started() -> RunHandle[str]:
    handle = workflow("invoice")(first).start()
    run_until_idle()
    return handle


def test_a_run_belongs_to_the_version_it_was_started_with() -> None:
    one = workflow("greet", version="1")(lambda step: "Hello")
    two = workflow("greet", version="2")(lambda step: "Good day")

    handles = [one.start(), two.start()]

    assert [outcome(handle) for handle in handles] == ["Hello", "Good day"]
    assert [handle.run.version for handle in handles] == ["1", "2"]


def test_a_run_of_an_unknown_version_waits_for_it() -> None:
    with registry.isolated():
        handle = workflow("greet", version="1")(lambda step: "Hello").start()
    workflow("greet", version="2")(lambda step: "Good day")
    run_until_idle()

    assert handle.status == "pending"
    assert handle.run.error["message"] == 'Workflow "greet" (version: 1) is not registered'
    workflow("greet", version="1")(lambda step: "Hello")
    assert later(handle, "5s") == "Hello"


def test_the_body_of_a_step_may_change_and_steps_may_be_added_at_the_end() -> None:
    handle = started()

    def changed(step: Step) -> str:
        step.run("collect", abs, 2)
        step.sleep("month", "1mo")
        step.run("send", "sent anew".strip)
        return step.run("thank", "thanked".strip)

    deploy(changed)

    assert later(handle, "1mo") == "thanked"


def renamed(step: Step) -> str:
    step.run("gather", abs, 1)
    step.sleep("month", "1mo")
    return "sent"


def removed(step: Step) -> str:
    step.sleep("month", "1mo")
    return "sent"


def inserted(step: Step) -> str:
    step.run("check", abs, 1)
    return first(step)


def of_another_kind(step: Step) -> str:
    step.sleep("collect", "1s")
    step.sleep("month", "1mo")
    return "sent"


@pytest.mark.parametrize("code", [renamed, removed, inserted, of_another_kind])
def test_a_run_that_does_not_fit_its_code_is_kept_until_the_code_fits(
    code: Callable[[Step], str],
) -> None:
    handle = started()
    deploy(code)
    advance("1mo")
    run_until_idle()

    assert handle.status == "pending"
    assert handle.run.error["name"] == "NonDeterministicWorkflow"
    assert '"collect"' in handle.run.error["message"]

    deploy(first)
    assert later(handle, "5m") == "sent"


def test_a_run_that_does_not_fit_can_be_canceled() -> None:
    handle = started()
    deploy(renamed)
    advance("1mo")
    run_until_idle()

    assert handle.cancel().status == "canceled"
