"""Errors and results that are hard to store: the run ends all the same, with clear words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.exceptions import StepFailed
from django_openworkflow.testing import run_until_idle
from tests.engine.passes import attempts_of, raiser, tick

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(maximum_attempts=1)


class BrokenText(Exception):
    """An exception whose every word raises."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class ExitingText(Exception):
    """An exception that tries to end the process when it is described."""

    def __str__(self) -> NoReturn:
        raise SystemExit


HOSTILE = {
    "nul": ValueError("before\x00after"),
    "surrogate": ValueError("before\ud800after"),
    "huge": ValueError("x" * 3_000_000),
    "broken-text": BrokenText(),
    "exiting-text": ExitingText(),
    "no-text": ValueError(),
    "numbers": ValueError(1, {"a": object()}),
    "group": ExceptionGroup("several", [ValueError("\x00"), BrokenText()]),
    "system-exit": SystemExit("\ud800"),
    "keyboard-interrupt": KeyboardInterrupt(),
    "stop-iteration": StopIteration("\x00"),
    "stop-async": StopAsyncIteration(),
}


@pytest.mark.parametrize("error", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_step_error_that_is_hard_to_store_is_stored_and_final(error: BaseException) -> None:
    @workflow("hostile")
    def hostile(step: Step) -> None:
        step.run("raise", raiser(error), retry_policy=ONCE)

    handle = hostile.start()
    assert run_until_idle() == 1

    run = handle.run
    assert run.status == "failed"
    assert run.error["name"] == type(error).__name__
    assert isinstance(run.error["message"], str)
    assert attempts_of(handle)[0].error == run.error
    assert run_until_idle() == 0  # it does not loop


@pytest.mark.parametrize("error", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_workflow_error_that_is_hard_to_store_is_stored_and_final(error: BaseException) -> None:
    @workflow("hostile")
    def hostile(step: Step) -> None:
        raise error

    handle = hostile.start()
    assert run_until_idle() == 1

    assert (handle.status, handle.run.error["name"]) == ("failed", type(error).__name__)


def test_what_cannot_be_stored_of_a_message_is_replaced_and_the_rest_is_kept() -> None:
    @workflow("hostile")
    def hostile(step: Step) -> None:
        step.run("raise", raiser(ValueError("a\x00b\ud800c")), retry_policy=ONCE)

    handle = hostile.start()
    run_until_idle()

    assert handle.run.error["message"] == "a\ufffdb\ufffdc"


def test_an_error_with_an_endless_traceback_is_stored() -> None:
    def endless(depth: int) -> None:
        if depth:
            endless(depth - 1)
        raise ValueError

    @workflow("deep")
    def deep(step: Step) -> None:
        step.run("recurse", lambda: endless(900), retry_policy=ONCE)

    handle = deep.start()
    run_until_idle()

    assert handle.run.error["name"] == "ValueError"
    assert len(handle.run.error["stack"]) < 40_000


# --- results that cannot be stored --------------------------------------------------------------


def circle() -> list[Any]:
    """Return a list that contains itself."""
    items: list[Any] = []
    items.append(items)
    return items


def nested() -> list[Any]:
    """Return a list nested too deep."""
    items: list[Any] = []
    for _ in range(5000):
        items = [items]
    return items


RESULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "object": (object, "$: a value of type object is not JSON"),
    "inside": (lambda: {"order": [1, {2}]}, "$.order[1]: a value of type set is not JSON"),
    "nan": (lambda: float("nan"), "$: nan is not a JSON number"),
    "nul": (lambda: "\x00", "$: the text holds a NUL character at position 0"),
    "surrogate": (lambda: "\ud800", "$: the text holds a lone surrogate at position 0"),
    "integer": (lambda: 2**60, "$: an integer beyond 2**53 would lose digits"),
    "key": (lambda: {1: 2}, "$: a key of type int is not text"),
    "circle": (circle, "$[0]: it contains itself"),
    "nested": (nested, "it is nested more than 100 levels deep"),
    "huge": (lambda: "x" * 1_048_576, "$: it takes at least 1048578 bytes"),
}


@pytest.mark.parametrize(("body", "words"), RESULTS.values(), ids=RESULTS.keys())
def test_a_result_that_cannot_be_stored_fails_the_step_at_once(
    body: Callable[[], Any], words: str
) -> None:
    calls: list[int] = []

    def counted() -> Any:
        calls.append(1)
        return body()

    @workflow("hostile")
    def hostile(step: Step) -> None:
        step.run("value", counted)

    handle = hostile.start()
    run_until_idle()
    tick("100s")

    assert (handle.status, len(calls)) == ("failed", 1)
    assert handle.run.error["name"] == "InvalidPayload"
    assert handle.run.error["message"].startswith('The output of step "value" cannot be stored: ')
    assert words in handle.run.error["message"]


def test_a_result_that_cannot_be_stored_stays_final_after_it_was_caught() -> None:
    calls: list[int] = []

    def unstorable() -> object:
        calls.append(1)
        return object()

    @workflow("careful")
    def careful(step: Step) -> str:
        try:
            step.run("value", unstorable)
        except StepFailed:
            step.sleep("pause", "1h")
        return "went on"

    handle = careful.start()
    run_until_idle()
    tick("1h")

    assert handle.result(timeout=0) == "went on"
    assert calls == [1]
