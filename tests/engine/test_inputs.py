"""Inputs as rows hold them, whoever wrote them, and the arguments that functions get."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from django_openworkflow import Step, workflow
from django_openworkflow.testing import run_until_idle
from tests.factories import WorkflowRunFactory

if TYPE_CHECKING:
    from django_openworkflow.models import WorkflowRun

pytestmark = pytest.mark.django_db


def execute(fn: Callable[..., Any], value: Any) -> WorkflowRun:
    """Execute a run with this stored input."""
    workflow("process-order")(fn)
    run = WorkflowRunFactory.create(input=value)
    run_until_idle()
    run.refresh_from_db()
    return run


def plain(step: Step, a: Any, b: Any = 2) -> list[Any]:
    return [a, b]


def positional(step: Step, a: Any = 1, b: Any = 2, /, c: Any = 3) -> list[Any]:
    return [a, b, c]


def keyword(step: Step, *, a: Any, b: Any = 2) -> list[Any]:
    return [a, b]


def one_keyword(step: Step, *, a: Any) -> list[Any]:
    return [a]


def one_keyword_and_others(step: Step, *, a: Any = 1, **rest: Any) -> list[Any]:
    return [a, rest]


def collecting(step: Step, a: Any = 1, **rest: Any) -> list[Any]:
    return [a, rest]


def nothing(step: Step) -> list[Any]:
    return []


@pytest.mark.parametrize(
    ("fn", "value", "output"),
    [
        (plain, {"a": 1}, [1, 2]),
        (plain, {"b": 1, "a": 3}, [3, 1]),
        (plain, [1, 2], [[1, 2], 2]),
        (plain, "text", ["text", 2]),
        (plain, 0, [0, 2]),
        (plain, False, [False, 2]),
        (plain, {"a": None}, [None, 2]),
        (plain, {"a": {"b": 1}}, [{"b": 1}, 2]),
        (positional, {"a": 5, "b": 6, "c": 7}, [5, 6, 7]),
        (positional, {"a": 5, "c": 7}, [5, 2, 7]),
        (positional, 9, [9, 2, 3]),
        (positional, None, [1, 2, 3]),
        (positional, {}, [1, 2, 3]),
        (keyword, {"a": 1}, [1, 2]),
        (keyword, {"a": 1, "b": None}, [1, None]),
        (one_keyword, [1], [[1]]),
        (one_keyword, 0, [0]),
        (one_keyword, {"a": 1}, [1]),
        (one_keyword_and_others, "text", ["text", {}]),
        (one_keyword_and_others, None, [1, {}]),
        (one_keyword_and_others, {"x": 6}, [1, {"x": 6}]),
        (collecting, {"a": 5, "x": 6, "y": [7]}, [5, {"x": 6, "y": [7]}]),
        (collecting, {"x": 6}, [1, {"x": 6}]),
        (collecting, {"rest": 6}, [1, {"rest": 6}]),
        (nothing, None, []),
        (nothing, {}, []),
    ],
)
def test_an_input_becomes_the_arguments_it_names(
    fn: Callable[..., Any], value: Any, output: list[Any]
) -> None:
    assert execute(fn, value).output == output


@pytest.mark.parametrize(
    ("fn", "value", "words"),
    [
        (plain, None, "missing a required argument: 'a'"),
        (plain, {}, "missing a required argument: 'a'"),
        (plain, {"a": 1, "typo": 2}, "got an unexpected keyword argument 'typo'"),
        (keyword, [1], "too many positional arguments"),
        (keyword, None, "missing a required"),
        (one_keyword, None, "missing a required argument: 'a'"),
        (one_keyword, {"b": 1}, "missing a required argument: 'a'"),
        (lambda step, **rest: None, 7, "too many positional arguments"),
        (nothing, {"a": 1}, "got an unexpected keyword argument 'a'"),
        (nothing, 0, "too many positional arguments"),
    ],
)
def test_an_input_that_does_not_fit_fails_the_run_with_clear_words(
    fn: Callable[..., Any], value: Any, words: str
) -> None:
    run = execute(fn, value)

    assert (run.status, run.error["name"]) == ("failed", "InvalidInput")
    assert run.error["message"].startswith('The input does not fit workflow "process-order": ')
    assert words in run.error["message"]


def test_a_positional_argument_never_gets_the_value_of_another_one() -> None:
    assert execute(positional, {"b": 6}).output in ([1, 6, 3], None)


def test_an_input_named_like_the_step_does_not_break_the_call() -> None:
    run = execute(collecting, {"step": 6})

    assert (run.output, run.error and run.error["name"]) in (
        ([1, {"step": 6}], None),
        (None, "InvalidInput"),
    )


def test_what_the_function_does_to_its_input_does_not_change_the_run() -> None:
    def greedy(step: Step, items: list[int]) -> int:
        items.clear()
        return len(items)

    run = execute(greedy, {"items": [1, 2]})

    assert (run.output, run.input) == (0, {"items": [1, 2]})
