"""What a page keeps while it is kept up to date: nothing old, and whatever somebody is at."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from django_openworkflow.admin.runs import WorkflowRunAdmin
from django_openworkflow.models import StepAttempt, WorkflowRun
from tests import factories
from tests.browser.pages import url

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Enter

_FACTORIES: Any = factories
CHANGED = "#ow-results .field-claims"


def runs(number: int, **columns: Any) -> list[WorkflowRun]:
    """Make rows; the first is the oldest, which the list shows last."""
    made: list[WorkflowRun] = _FACTORIES.WorkflowRunFactory.create_batch(number, **columns)
    return made


def box(page: Page, run: WorkflowRun) -> Locator:
    """Return what selects a run."""
    return page.locator(f"input.action-select[value='{run.pk}']")


def wait_for_rows(page: Page, number: int) -> None:
    """Return once the list has so many rows, by itself."""
    page.wait_for_function(
        "number => document.querySelectorAll('#result_list tbody tr').length === number", arg=number
    )


def claim_all(page: Page, number: int) -> None:
    """Change every run, and return once every row of the list has changed."""
    WorkflowRun.objects.update(attempts=number, updated_at=timezone.now())
    page.wait_for_function(
        "([cells, text]) => [...document.querySelectorAll(cells)].every(c => c.innerText === text)",
        arg=[CHANGED, str(number)],
    )


def mark(locator: Locator) -> None:
    """Focus an element, and remember which one it is."""
    locator.focus()
    locator.evaluate("element => { window.marked = element; }")


def has_kept_the_focus(page: Page) -> bool:
    kept: bool = page.evaluate(
        "document.activeElement === window.marked && window.marked.isConnected"
    )
    return kept


def ticked(page: Page) -> tuple[int, int, str]:
    """Return how many boxes are ticked, how many rows look so, and what is said about it."""
    return (
        page.locator("input.action-select:checked").count(),
        page.locator("#result_list tbody tr.selected").count(),
        page.locator(".action-counter").inner_text(),
    )


# --- what is old is let go ----------------------------------------------------------------------


def test_a_list_that_is_looked_at_for_long_holds_on_to_nothing(enter: Enter) -> None:
    runs(10)
    page = enter().visit(url("changelist"))
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")

    def held() -> tuple[int, int]:
        devtools.send("HeapProfiler.collectGarbage")
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        found = {metric["name"]: int(metric["value"]) for metric in metrics}
        return found["JSEventListeners"], found["Nodes"]

    claim_all(page, 1)
    listeners, nodes = held()
    for number in range(2, 5):
        claim_all(page, number)
    more_listeners, more_nodes = held()
    assert more_listeners == listeners
    assert more_nodes < nodes + 100  # a row has fifty


# --- boxes --------------------------------------------------------------------------------------


def test_rows_that_came_later_are_selected_like_those_of_the_beginning(enter: Enter) -> None:
    old = runs(2)
    visitor = enter()
    page = visitor.visit(url("changelist"))
    new = runs(2)
    wait_for_rows(page, 4)
    box(page, old[0]).click()
    assert ticked(page) == (1, 1, "1 of 4 selected")
    box(page, new[0]).click(modifiers=["Shift"])
    assert ticked(page) == (3, 3, "3 of 4 selected")
    assert not page.locator("#action-toggle").is_checked()
    box(page, new[1]).focus()
    page.keyboard.press("Space")
    assert ticked(page) == (4, 4, "4 of 4 selected")
    assert page.locator("#action-toggle").is_checked()
    page.locator("#action-toggle").click()
    assert ticked(page) == (0, 0, "0 of 4 selected")
    page.locator("#action-toggle").click()
    assert ticked(page) == (4, 4, "4 of 4 selected")
    box(page, old[1]).click()
    visitor.choose_action("Cancel selected workflow runs")
    assert page.locator("input[name=_selected_action]").count() == 3


def test_a_list_waits_while_a_row_is_selected_and_goes_on_after(enter: Enter) -> None:
    [run] = runs(1)
    page = enter().visit(url("changelist"))
    claim_all(page, 1)
    box(page, run).click()
    runs(1)
    for _ in range(2):  # the first of them has been looked at when the second is here
        with page.expect_response(lambda answer: "/live/" in answer.url and answer.status == 200):
            pass
    assert ticked(page) == (1, 1, "1 of 1 selected")
    box(page, run).click()
    wait_for_rows(page, 2)
    assert ticked(page) == (0, 0, "0 of 2 selected")


def test_all_pages_are_selected_though_there_was_only_one(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkflowRunAdmin, "list_per_page", 2)
    runs(2)
    visitor = enter()
    page = visitor.visit(url("changelist"))
    runs(3)
    page.locator(".paginator").get_by_text("5 workflow runs").wait_for()
    page.locator("#action-toggle").click()
    page.get_by_text("Select all 5 workflow runs").click()
    assert page.get_by_text("All 5 selected").is_visible()
    page.get_by_text("Clear selection").click()
    assert ticked(page) == (0, 0, "0 of 2 selected")
    page.locator("#action-toggle").click()
    page.get_by_text("Select all 5 workflow runs").click()
    visitor.choose_action("Cancel selected workflow runs")
    assert "5" in page.locator(".ow-group").inner_text()


# --- what somebody is at ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at", ["tbody a >> nth=0", "input.action-select >> nth=1", ".ow-row-button >> nth=1"]
)
def test_a_row_keeps_the_focus_while_others_come_and_go(at: str, enter: Enter) -> None:
    runs(2)
    page = enter().visit(url("changelist"))
    mark(page.locator(f"#result_list {at}"))
    runs(1)
    wait_for_rows(page, 3)
    claim_all(page, 7)
    assert has_kept_the_focus(page)


@pytest.mark.parametrize(
    "at",
    [
        "#ow-timeline tbody a[href^='#']",
        "#ow-timeline tbody a[href^='/']",
        "#ow-attempts >> text=All about this attempt",
        "#ow-attempts summary",
        "#ow-attempts details >> text=Child run",
        "#ow-attempts pre",
    ],
)
def test_what_is_in_a_part_keeps_the_focus_while_the_part_grows(at: str, enter: Enter) -> None:
    [run] = runs(1, running=True)
    first = {"step_name": "first", "completed": True, "output": {"a": 1}}
    runs(1, child=True, parent=run, **{f"parent_step_attempt__{k}": v for k, v in first.items()})
    visitor = enter()
    page = visitor.see(run)
    page.locator("#ow-attempts summary").click()
    mark(page.locator(at).first)
    attempt = {"workflow_run": run, "created_at": timezone.now() + timedelta(seconds=1)}
    _FACTORIES.StepAttemptFactory(**attempt, step_name="second")
    visitor.wait_for_steps("first", "second")
    assert has_kept_the_focus(page)
    assert page.locator("#ow-attempts details[open] strong").all_inner_texts() == ["first"]


def test_a_step_keeps_the_focus_when_it_is_tried_again(enter: Enter) -> None:
    [run] = runs(1, running=True)
    _FACTORIES.StepAttemptFactory(workflow_run=run, step_name="fragile", failed=True)
    visitor = enter()
    page = visitor.see(run)
    link = page.locator("#ow-timeline tbody a[href^='#']")
    mark(link)
    again = _FACTORIES.StepAttemptFactory(workflow_run=run, step_name="fragile")
    page.locator(f"#ow-timeline a[href='#attempt-{again.pk}']").wait_for()
    assert has_kept_the_focus(page)


def test_what_is_new_between_takes_no_focus_from_what_stays(enter: Enter) -> None:
    [parent] = runs(1, completed=True)
    [run] = runs(1, running=True, child=True, parent=parent)
    page = enter().see(run)
    page.locator("#ow-summary dd a").focus()
    WorkflowRun.objects.filter(pk=run.pk).update(failures=2, updated_at=timezone.now())
    page.locator("#ow-summary").get_by_text("Failures").wait_for()
    assert page.evaluate("document.activeElement.href").endswith(url("change", parent.pk))


def test_a_click_that_has_begun_before_a_change_still_counts(enter: Enter) -> None:
    [run] = runs(1)
    page = enter().visit(url("changelist"))
    page.locator("#result_list .field-run a").hover()
    page.mouse.down()
    claim_all(page, 3)
    with page.expect_navigation():
        page.mouse.up()
    assert page.url.split("?")[0].endswith(url("change", run.pk))


# --- counts -------------------------------------------------------------------------------------


def counted(page: Page) -> tuple[str | None, ...]:
    """Return the three places in which Django counts the rows."""
    return (
        page.locator("#changelist-search .quiet").inner_text().split(" (")[0],
        page.locator(".action-counter").get_attribute("data-actions-icnt"),
        page.locator(".paginator").inner_text().splitlines()[-1],
    )


def test_whatever_counts_rows_follows_them(enter: Enter) -> None:
    page = enter().visit(url("changelist") + "?status=pending")
    assert counted(page) == ("0 results", "0", "0 workflow runs")
    page.locator("#searchbar").type("ord")
    made = runs(3)
    wait_for_rows(page, 3)
    assert counted(page) == ("3 results", "3", "3 workflow runs")
    page.locator("#searchbar").type("er")
    assert page.locator("#searchbar").input_value() == "order"
    page.locator("#action-toggle").click()
    assert ticked(page) == (3, 3, "3 of 3 selected")
    page.locator("#action-toggle").click()
    WorkflowRun.objects.cancel(made[0])
    wait_for_rows(page, 2)
    assert counted(page) == ("2 results", "2", "2 workflow runs")
    StepAttempt.objects.all().delete()
    WorkflowRun.objects.all().delete()
    wait_for_rows(page, 0)
    assert counted(page) == ("0 results", "0", "0 workflow runs")
