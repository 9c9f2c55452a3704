"""The guide to steps."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import override_settings

from django_openworkflow import Step, workflow
from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.testing import run_until_idle
from tests.guides.playing import ONCE, failing, later, outcome, saved

pytestmark = pytest.mark.django_db


def test_a_result_is_saved_and_replayed_instead_of_calling_the_body_again() -> None:
    calls: list[str] = []

    @workflow("once")
    def once(step: Step) -> None:
        step.run("note", calls.append, "called")
        step.sleep("nap", "1h")

    handle = once.start()
    run_until_idle()
    later(handle, "1h")

    assert calls == ["called"]


def test_arguments_reach_the_body() -> None:
    def add(left: int, *, right: int) -> int:
        return left + right

    @workflow("add")
    def adding(step: Step) -> int:
        return step.run("add", add, 40, right=2)

    assert outcome(adding.start()) == 42


def test_a_name_used_again_is_numbered_in_call_order() -> None:
    @workflow("numbers")
    def numbers(step: Step) -> list[int]:
        return [step.run("number", abs, -number) for number in range(3)]

    handle = numbers.start()

    assert outcome(handle) == [0, 1, 2]
    assert [name for name, _ in saved(handle)] == ["number", "number:1", "number:2"]


def test_steps_of_all_kinds_share_one_name_space() -> None:
    @workflow("mixed")
    def mixed(step: Step) -> None:
        step.run("wait", abs, 1)
        step.sleep("wait", "1s")

    handle = mixed.start()
    run_until_idle()

    assert [name for name, _ in saved(handle)] == ["wait", "wait:1"]


def test_a_result_is_what_json_gives_back() -> None:
    @workflow("tuple")
    def pair(step: Step) -> str:
        return type(step.run("pair", lambda: (1, 2))).__name__

    assert outcome(pair.start()) == "list"


def test_a_result_that_json_cannot_keep_fails_the_step_without_a_retry() -> None:
    @workflow("set")
    def collection(step: Step) -> None:
        step.run("set", lambda: {1, 2})

    handle = collection.start()

    with pytest.raises(WorkflowFailed, match="cannot be stored"):
        outcome(handle)
    assert saved(handle) == [("set", "failed")]


def test_the_key_for_the_world_outside_is_the_same_in_every_try() -> None:
    keys: list[str] = []
    attempt = failing(1, "paid")

    def charge(key: str) -> str:
        keys.append(key)
        return attempt()

    @workflow("charge")
    def charging(step: Step) -> str:
        return step.run("charge", charge, f"{step.info.id}:charge")

    handle = charging.start()
    run_until_idle()

    assert later(handle, "1s") == "paid"
    assert keys == [f"{handle.id}:charge"] * 2


def test_a_step_inside_a_body_is_refused() -> None:
    @workflow("nested")
    def nested(step: Step) -> None:
        step.run("outer", step.sleep, "inner", "1h", retry_policy=ONCE)

    with pytest.raises(WorkflowFailed, match='"inner" was called inside the body of step "outer"'):
        outcome(nested.start())


def test_a_run_has_a_limit_of_step_attempts() -> None:
    @workflow("endless")
    def endless(step: Step) -> None:
        while True:
            step.run("again", abs, 1)

    handle = endless.start()

    with (
        override_settings(OPENWORKFLOW={"STEP_LIMIT": 3}),
        pytest.raises(WorkflowFailed, match="StepLimitExceededError"),
    ):
        outcome(handle)
    assert len(saved(handle)) == 3


def test_a_transaction_step_keeps_its_writes_with_its_result() -> None:
    @workflow("found")
    def found(step: Step) -> int:
        return step.transaction("create", lambda: Group.objects.create(name="editors").pk)

    assert outcome(found.start()) == Group.objects.get().pk


def test_a_transaction_step_that_fails_leaves_no_writes() -> None:
    def half() -> None:
        Group.objects.create(name="half")
        message = "power cut"
        raise RuntimeError(message)

    @workflow("half")
    def halfway(step: Step) -> None:
        step.transaction("half", half, retry_policy=ONCE)

    with pytest.raises(WorkflowFailed, match="power cut"):
        outcome(halfway.start())
    assert not Group.objects.exists()
