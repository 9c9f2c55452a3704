"""The guide to parallel steps, and to as many steps as there are."""

from __future__ import annotations

import asyncio

import pytest

from django_openworkflow import AsyncStep, Step, workflow
from django_openworkflow.exceptions import WorkflowFailed
from django_openworkflow.testing import advance, run_until_idle
from tests.guides.playing import ONCE, failing, later, outcome, saved

pytestmark = pytest.mark.django_db


def weather(town: str) -> str:
    return f"sun in {town}"


def test_results_come_in_the_order_of_the_calls() -> None:
    @workflow("towns")
    def towns(step: Step) -> list[str]:
        return step.gather(*[step.call("ask", weather, town) for town in ("Rome", "Oslo")])

    handle = towns.start()

    assert outcome(handle) == ["sun in Rome", "sun in Oslo"]
    assert [name for name, _ in saved(handle)] == ["ask", "ask:1"]


def test_async_steps_run_side_by_side_with_gather() -> None:
    @workflow("towns")
    async def towns(step: AsyncStep) -> list[str]:
        return list(
            await asyncio.gather(step.run("a", weather, "Rome"), step.run("b", weather, "Oslo"))
        )

    assert outcome(towns.start()) == ["sun in Rome", "sun in Oslo"]


def test_how_many_steps_there_are_may_come_from_a_step() -> None:
    @workflow("towns")
    def towns(step: Step) -> list[str]:
        names = step.run("list", lambda: ["Rome", "Oslo", "Lima"])
        return step.gather(*[step.call(f"ask-{name}", weather, name) for name in names])

    handle = towns.start()

    assert len(outcome(handle)) == 3
    assert {name for name, _ in saved(handle)} == {"list", "ask-Rome", "ask-Oslo", "ask-Lima"}


def test_a_loop_of_steps_goes_on_where_it_was() -> None:
    calls: list[int] = []

    @workflow("loop")
    def loop(step: Step, count: int) -> None:
        for number in range(count):
            step.run(f"note-{number}", calls.append, number)
            step.sleep("pause", "1s")

    handle = loop.start(3)
    run_until_idle()
    for _ in range(3):
        advance("1s")
        run_until_idle()

    assert calls == [0, 1, 2]
    assert handle.status == "completed"


def test_a_finished_branch_does_not_run_again_when_another_one_is_tried_again() -> None:
    calls: list[str] = []
    body = failing(1, "late")

    @workflow("mixed")
    def mixed(step: Step) -> list[str | None]:
        return step.gather(step.call("ask", body), step.call("note", calls.append, "early"))

    handle = mixed.start()
    run_until_idle()

    assert later(handle, "1s") == ["late", None]
    assert calls == ["early"]


def test_the_first_error_in_order_is_raised_after_all_have_finished() -> None:
    calls: list[str] = []
    body = failing(1, None)

    @workflow("mixed")
    def mixed(step: Step) -> None:
        ask = step.call("ask", body, retry_policy=ONCE)
        step.gather(ask, step.call("note", calls.append, "done"))

    with pytest.raises(WorkflowFailed, match="no answer"):
        outcome(mixed.start())
    assert calls == ["done"]


def test_errors_can_take_the_place_of_results() -> None:
    body = failing(1, None)

    @workflow("mixed")
    def mixed(step: Step) -> list[str]:
        ask = step.call("ask", body, retry_policy=ONCE)
        found = step.gather(ask, step.call("weather", weather, "Rome"), return_exceptions=True)
        return [type(one).__name__ for one in found]

    assert outcome(mixed.start()) == ["StepFailed", "str"]


def test_children_run_side_by_side() -> None:
    @workflow("child")
    def child(step: Step, town: str) -> str:
        step.sleep("think", "1h")
        return weather(town)

    @workflow("parent")
    def parent(step: Step) -> list[str]:
        return step.gather(step.call("south", child, "Rome"), step.call("north", child, "Oslo"))

    handle = parent.start()
    run_until_idle()

    assert later(handle, "1h") == ["sun in Rome", "sun in Oslo"]
