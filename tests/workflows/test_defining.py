"""Definitions: how they are named, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import DuplicateWorkflow, InvalidInput, WorkflowNotRegistered
from django_openworkflow.registry import registry
from tests.workflows.orders import LONG, order


def test_the_package_can_be_imported_before_settings_and_apps_exist() -> None:
    code = (
        "from django_openworkflow import *\n"
        "@workflow\n"
        "def early(step: Step, n: int) -> int: return n\n"
        "assert (early.name, early.version) == ('early', None)\n"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-W", "error", "-c", code],
        env={},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_bare_workflow_is_named_after_its_function() -> None:
    @workflow
    def send_the_invoice(step: Step) -> None:
        return None

    assert (send_the_invoice.name, send_the_invoice.version, send_the_invoice.queue) == (
        "send-the-invoice",
        None,
        "default",
    )
    assert registry.find("send-the-invoice", None) is send_the_invoice


def test_options_without_a_name_keep_the_name_of_the_function() -> None:
    policy = RetryPolicy(maximum_attempts=5)

    @workflow(version="2", retry_policy=policy, queue="slow")
    def send_the_invoice(step: Step) -> None:
        return None

    assert (send_the_invoice.name, send_the_invoice.version) == ("send-the-invoice", "2")
    assert (send_the_invoice.retry_policy, send_the_invoice.queue) == (policy, "slow")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, 'Workflow "twice" is already registered'),
        ("1", 'Workflow "twice" (version: 1) is already registered'),
    ],
)
def test_the_same_name_and_version_twice_is_refused(version: str | None, words: str) -> None:
    first = workflow("twice", version=version)(order)
    with pytest.raises(DuplicateWorkflow) as caught:
        workflow("twice", version=version)(order)

    assert str(caught.value) == words
    assert registry.find("twice", version) is first


def test_versions_live_side_by_side() -> None:
    for version in ("2", None, "10", "1"):
        workflow("versioned", version=version)(order)

    assert registry.versions("versioned") == [None, "1", "10", "2"]
    with pytest.raises(
        WorkflowNotRegistered, match=r'"versioned" \(version: 3\) is not registered'
    ):
        registry.find("versioned", "3")


@pytest.mark.parametrize("text", ["", "two\nlines", "nul\x00", "lone\ud800", 7, b"bytes"], ids=repr)
@pytest.mark.parametrize("option", ["name", "version", "queue"])
def test_names_that_no_log_could_show_are_refused(option: str, text: Any) -> None:
    given: dict[str, Any] = {"name": "named", option: text}
    name = given.pop("name")
    with pytest.raises(InvalidInput, match=rf"^A workflow's {option} must be printable text"):
        workflow(name, **given)(order)

    assert not registry.versions("named")


def test_a_workflow_has_a_queue() -> None:
    queue: Any = None
    with pytest.raises(InvalidInput, match=r"^A workflow's queue must be printable text .* None$"):
        workflow("named", queue=queue)(order)

    assert not registry.versions("named")


def test_what_has_no_name_of_its_own_must_be_given_one() -> None:
    class Ordering:
        def __call__(self, step: Step) -> None: ...

    for nameless in (Ordering(), partial(order, express=True)):
        for define in (workflow, workflow()):
            with pytest.raises(InvalidInput, match=r"has no name of its own: give the workflow on"):
                define(nameless)

    assert workflow("ordering")(Ordering()).name == "ordering"


@pytest.mark.parametrize("option", ["name", "queue"])
def test_names_too_long_for_an_index_are_refused(option: str) -> None:
    given: dict[str, Any] = {"name": "named", option: LONG}
    name = given.pop("name")
    with pytest.raises(InvalidInput):
        workflow(name, **given)(order)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda: None, "must take the step as its first argument"),
        (lambda *, step: None, "must take the step as its first argument"),
        (lambda **steps: None, "must take the step as its first argument"),
        (lambda step, *items: None, r"cannot take \*args"),
        (lambda *steps: None, r"cannot take \*args"),
    ],
)
def test_a_function_that_could_never_be_called_is_refused(fn: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        workflow("impossible")(fn)


@pytest.mark.parametrize("policy", [3, "3", {"maximum_attempts": 3}, RetryPolicy], ids=repr)
def test_a_retry_policy_that_is_none_is_refused(policy: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^retry_policy must be a RetryPolicy, not "):
        workflow("named", retry_policy=policy)(order)


def test_registrations_of_an_isolated_block_are_forgotten() -> None:
    with registry.isolated():
        workflow("short-lived")(order)
        assert ("short-lived", None) in registry.definitions()

    assert ("short-lived", None) not in registry.definitions()
