"""Versions side by side, and code that does not fit the saved steps of its runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_openworkflow import AsyncStep, RetryPolicy, RunHandle, Step, Workflow, workflow
from django_openworkflow.exceptions import DuplicateWorkflow, InvalidInput
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import noting, step_names, tick

pytestmark = pytest.mark.django_db


# --- side by side -------------------------------------------------------------------------------


def versioned(version: str | None) -> Workflow[[], str]:
    """Define a version of one workflow that says which one it is."""

    @workflow("order", version=version)
    def order(step: Step) -> str:
        step.sleep("pause", "1h")
        return step.run("say", lambda: f"version {version}")

    return order


def test_every_run_is_executed_by_the_version_that_started_it() -> None:
    handles = [versioned(version).start() for version in (None, "1", "2")]
    run_until_idle()
    tick("1h")

    assert [handle.result(timeout=0) for handle in handles] == [
        "version None",
        "version 1",
        "version 2",
    ]


def test_a_run_of_a_version_that_is_gone_waits_for_it() -> None:
    with registry.isolated():
        old = versioned("1").start()
    versioned(None)
    new = versioned("2").start()
    run_until_idle()
    tick("1h")
    assert (new.status, old.status, old.run.attempts) == ("completed", "pending", 0)
    assert old.run.error == {"message": 'Workflow "order" (version: 1) is not registered'}
    versioned("1")
    tick("1h")
    tick("1h")

    assert old.result(timeout=0) == "version 1"


def test_a_name_and_version_can_be_registered_once() -> None:
    versioned("1")
    with pytest.raises(DuplicateWorkflow) as caught:
        versioned("1")

    assert str(caught.value) == 'Workflow "order" (version: 1) is already registered'


def test_the_names_of_clean_up_runs_are_reserved() -> None:
    with pytest.raises(InvalidInput, match=r"^The name 'order:cleanup' is reserved for clean-up r"):
        workflow("order:cleanup")(lambda step: None)

    assert ("order:cleanup", None) not in registry.definitions()


# --- non-determinism ----------------------------------------------------------------------------

Code = Callable[[Any], Any]
calls: list[str] = []


def original(step: Step) -> str:
    step.run("a", noting(calls, "a"))
    step.run("b", noting(calls, "b"))
    step.sleep("pause", "1h")
    return step.run("c", noting(calls, "c"))


def other_kind(step: Step) -> None:
    step.run("a", noting(calls, "a"))
    step.sleep("b", "1h")


def other_kind_of_a_wait(step: Step) -> None:
    step.run("a", noting(calls, "a"))
    step.run("b", noting(calls, "b"))
    step.run("pause", noting(calls, "new"))


def new_step_first(step: Step) -> None:
    step.run("new", noting(calls, "new"))
    original(step)


def new_sleep_in_between(step: Step) -> None:
    step.run("a", noting(calls, "a"))
    step.sleep("new", "1h")


def swapped(step: Step) -> None:
    step.run("c", noting(calls, "new"))
    original(step)


def step_that_never_comes(step: Step) -> str:
    return step.run("a", noting(calls, "a"))


def nothing_at_all(step: Step) -> None:
    return None


CHANGES: dict[str, tuple[Code, str]] = {
    "other-kind": (
        other_kind,
        'Step "b" is a sleep step in the code, but a function step in the run\'s history',
    ),
    "other-kind-of-a-wait": (
        other_kind_of_a_wait,
        'Step "pause" is a function step in the code, but a sleep step in the run\'s history',
    ),
    "new-step-first": (
        new_step_first,
        'Step "new" is new in the code, but step "a" in the run\'s history comes first',
    ),
    "new-sleep-in-between": (
        new_sleep_in_between,
        'Step "new" is new in the code, but step "b" in the run\'s history comes first',
    ),
    "swapped": (
        swapped,
        'Step "c" is new in the code, but step "a" in the run\'s history comes first',
    ),
    "step-that-never-comes": (
        step_that_never_comes,
        'The workflow returned, but step "b" in its history never came',
    ),
    "nothing-at-all": (
        nothing_at_all,
        'The workflow returned, but step "a" in its history never came',
    ),
}
every_change = pytest.mark.parametrize(("code", "words"), CHANGES.values(), ids=CHANGES.keys())


def swallowing(code: Code) -> Code:
    """Return the same code, but for swallowing whatever it raises."""

    def swallow(step: Step) -> Any:
        try:
            return code(step)
        except:  # noqa: E722 - what careless user code does
            return "swallowed"

    return swallow


def raising(code: Code) -> Code:
    """Return the same code, but for raising something else instead."""

    def translate(step: Step) -> Any:
        try:
            return code(step)
        except BaseException as error:
            message = "translated"
            raise LookupError(message) from error

    return translate


def plain(code: Code) -> Code:
    return code


def in_its_pause(first: Code) -> RunHandle[Any]:
    """Start a run with this code and leave it in its sleep."""
    calls.clear()
    with registry.isolated():
        handle: RunHandle[Any] = workflow("order")(first).start()
        run_until_idle()
    assert calls == ["a", "b"]
    return handle


@every_change
@pytest.mark.parametrize("dressed", [plain, swallowing, raising])
def test_a_run_that_its_code_does_not_fit_is_kept_and_goes_on_when_it_does(
    code: Code, words: str, dressed: Callable[[Code], Code]
) -> None:
    handle = in_its_pause(original)
    with registry.isolated():
        workflow("order", retry_policy=RetryPolicy(maximum_attempts=1))(dressed(code))
        for _ in range(3):
            tick("1h")

        run = handle.run
        assert (run.status, run.failures, run.output, calls) == ("pending", 0, None, ["a", "b"])
        assert (run.error["name"], run.error["message"]) == ("NonDeterministicWorkflow", words)
        assert step_names(handle) == ["a", "b", "pause"]
    workflow("order")(original)
    tick("1h")

    assert (handle.result(timeout=0), calls) == ("c", ["a", "b", "c"])
    assert handle.run.error is None


def test_a_new_step_after_all_saved_ones_is_no_trouble() -> None:
    handle = in_its_pause(original)

    @workflow("order")
    def order(step: Step) -> str:
        original(step)
        return step.run("d", noting(calls, "d"))

    tick("1h")

    assert (handle.result(timeout=0), calls) == ("d", ["a", "b", "c", "d"])


# --- async --------------------------------------------------------------------------------------


async def async_original(step: AsyncStep) -> str:
    await step.run("a", noting(calls, "a"))
    await step.run("b", noting(calls, "b"))
    await step.sleep("pause", "1h")
    return await step.run("c", noting(calls, "c"))


async def async_other_kind(step: AsyncStep) -> None:
    await step.run("a", noting(calls, "a"))
    await step.sleep("b", "1h")


async def async_never_comes(step: AsyncStep) -> str:
    return await step.run("a", noting(calls, "a"))


async def async_swallowing(step: AsyncStep) -> str:
    try:
        await async_other_kind(step)
    except BaseException:
        return "swallowed"
    return "done"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (async_other_kind, CHANGES["other-kind"][1]),
        (async_swallowing, CHANGES["other-kind"][1]),
        (async_never_comes, CHANGES["step-that-never-comes"][1]),
    ],
)
def test_an_async_run_that_its_code_does_not_fit_is_kept_too(code: Code, words: str) -> None:
    handle = in_its_pause(async_original)
    with registry.isolated():
        workflow("order")(code)
        tick("1h")
        assert (handle.status, handle.run.error["message"]) == ("pending", words)
    workflow("order")(async_original)
    tick("1h")

    assert (handle.result(timeout=0), calls) == ("c", ["a", "b", "c"])
