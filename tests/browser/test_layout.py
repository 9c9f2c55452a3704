"""What rows may hold and no page may be broken by: long words, long lines, foreign scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from django_openworkflow.models import WorkflowRun
from testproject.office import gallery
from tests.browser.pages import DESKTOP, Look, url
from tests.factories import StepAttemptFactory, WorkerProcessFactory, WorkflowRunFactory

if TYPE_CHECKING:
    from playwright.sync_api import Locator
    from pytest_django import Settings

    from tests.browser.conftest import Enter

PHONE: Final = Look(width=375, height=800)
ADMIN: Final = "/admin/django_openworkflow"


def a_run(**columns: Any) -> Any:
    """Make a row."""
    return WorkflowRunFactory.create(**columns)


def style_of(place: Locator, name: str) -> str:
    """Return what the browser computed for a property."""
    value: str = place.evaluate("(one, name) => getComputedStyle(one)[name]", name)
    return value


# --- pages of single rows -------------------------------------------------------------------------


def ends_inside(place: Locator, card: Locator) -> bool:
    """Whether something is no wider than what it stands in."""
    inner, outer = place.bounding_box(), card.bounding_box()
    assert inner is not None
    assert outer is not None
    return inner["x"] + inner["width"] <= outer["x"] + outer["width"]


def scrolls(place: Locator) -> bool:
    """Whether there is more of it than fits, and a scroll bar."""
    is_longer: bool = place.evaluate("one => one.scrollWidth > one.clientWidth")
    return is_longer and style_of(place, "overflowX") == "auto"


@pytest.mark.parametrize("look", [DESKTOP, PHONE], ids=str)
def test_all_about_an_attempt_can_be_read_to_the_end_of_its_lines(look: Look, enter: Enter) -> None:
    line = 'raise Timeout("no answer")  # ' + "so long a comment " * 40
    error = {"name": "Timeout", "message": "slow", "stack": f"Traceback\n  {line}"}
    failed: Any = StepAttemptFactory.create(failed=True, error=error)
    done: Any = StepAttemptFactory.create(completed=True, output={"words": "word" * 300})
    visitor = enter(look)
    page = visitor.visit(f"{ADMIN}/stepattempt/{failed.pk}/change/")
    trace = page.locator(".field-error pre")
    assert ends_inside(trace, page.locator(".field-error"))
    assert scrolls(trace)
    assert style_of(page.locator(".ow-badge"), "backgroundColor") != "rgba(0, 0, 0, 0)"
    assert visitor.overflow() == 0
    page = visitor.visit(f"{ADMIN}/stepattempt/{done.pk}/change/")
    output = page.locator(".field-output pre")
    assert ends_inside(output, page.locator(".field-output"))
    assert not scrolls(output)  # it is wrapped
    assert style_of(output.locator(".ow-text"), "color") != style_of(output, "color")
    assert visitor.overflow() == 0


# --- long words -----------------------------------------------------------------------------------


def long_addresses() -> dict[str, str]:
    """Make runs whose texts have no place to break, and return the pages that show them."""
    names = {"workflow_name": "w" * 500, "version": "v" * 300}
    running, ended = a_run(running=True, **names), a_run(canceled=True, **names)
    plain = a_run(canceled=True)
    reason = {"cancel_reason": "https://example.com/" + "r" * 100, "cancel_actor": "a" * 100}
    WorkflowRun.objects.filter(pk__in=[ended.pk, plain.pk]).update(**reason)
    return {
        "run": url("change", running.pk),
        "canceled run": url("change", ended.pk),
        "cancel": url("cancel_run", running.pk),
        "retry": url("retry_run", ended.pk),
        "not possible": url("cancel_run", ended.pk),
        "overview": url("overview"),
    }


@pytest.mark.parametrize("look", [DESKTOP, PHONE], ids=str)
def test_long_words_are_broken(look: Look, enter: Enter) -> None:
    visitor = enter(look)
    wide = {}
    for name, address in long_addresses().items():
        visitor.visit(address)
        wide[name] = visitor.overflow()
    assert {name: pixels for name, pixels in wide.items() if pixels} == {}


def test_many_long_words_are_broken(enter: Enter) -> None:
    long_addresses()
    visitor = enter(PHONE)
    page = visitor.visit(url("changelist"))
    page.locator("#action-toggle").check()
    visitor.choose_action("Cancel selected workflow runs")
    assert page.locator(".ow-chip").count() == 2
    assert not any(scrolls(one) for one in page.locator(".ow-runs").all())
    assert visitor.overflow() == 0


def test_one_long_name_hides_nothing_of_the_list(enter: Enter) -> None:
    a_run(running=True)
    long_addresses()
    visitor = enter(Look(width=1600))
    page = visitor.visit(url("changelist"))
    buttons = page.locator(".ow-row-button")
    assert buttons.count() == 4
    assert all(ends_inside(one, page.locator(".results")) for one in buttons.all())
    short = page.locator(".field-workflow a").get_by_text("process-order").first
    assert short.evaluate("one => one.getClientRects().length") == 1


# --- tables of the overview -----------------------------------------------------------------------

# Whether a text takes more lines than it has words.
_BROKEN: Final = """cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const lines = new Set([...range.getClientRects()].map(one => Math.round(one.top)));
    return lines.size > cell.textContent.trim().split(/[\\s-]+/).length;
}"""


@pytest.mark.parametrize(
    ("language", "width"), [("de", 320), ("de", 375), ("de", 1280), ("en", 1280)]
)
def test_the_overview_breaks_no_word(
    language: str, width: int, enter: Enter, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = language
    gallery.hang(runs=30)
    WorkerProcessFactory.create(queues=["billing", "reports"])
    visitor = enter(Look(width=width))
    page = visitor.visit(url("overview"))
    headers = page.locator(".ow-table thead th:not(:has(.ow-hidden)):visible")
    names = page.locator(".ow-table tbody :is(th a, td:not(:has(code, a))):visible")
    queues = {"de": "Warteschlangen", "en": "Queues"}[language]
    assert queues in headers.all_inner_texts()
    assert names.count() > 5
    cells = [*headers.all(), *names.all()]
    assert [cell.inner_text() for cell in cells if cell.evaluate(_BROKEN)] == []
    assert visitor.overflow() == 0
    if width > 1000:
        assert not any(scrolls(card) for card in page.locator(".ow-card:has(table)").all())


# --- what looks like a button or a card -----------------------------------------------------------


def test_buttons_and_cards_are_not_underlined(enter: Enter) -> None:
    """Django 6.1 underlines every link that is nothing else to it."""
    run = a_run(running=True)
    visitor = enter()
    for address, kinds in {
        url("changelist"): [".ow-row-button"],
        url("change", run.pk): [".ow-button"],
        url("cancel_run", run.pk): ["#ow-back"],
        url("start_run"): ["#ow-back"],
        url("overview"): [".ow-number-card", ".ow-row-button"],
    }.items():
        page = visitor.visit(address)
        for kind in kinds:
            links = page.locator(kind).all()
            assert links, (address, kind)
            assert {style_of(one, "textDecorationLine") for one in links} == {"none"}, kind


# --- the dark, and scripts that run the other way -------------------------------------------------

# The contrast of a border with what is behind it: the first opaque colour above.
_CONTRAST: Final = """one => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = colour => numbers(colour).slice(0, 3).map(value => value / 255)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    let behind = one.parentElement;
    const isClear = place => numbers(getComputedStyle(place).backgroundColor)[3] === 0;
    while (isClear(behind)) behind = behind.parentElement;
    const both = [getComputedStyle(one).borderTopColor, getComputedStyle(behind).backgroundColor];
    const [low, high] = both.map(light).sort((left, right) => left - right);
    return (high + 0.05) / (low + 0.05);
}"""


@pytest.mark.parametrize("look", [DESKTOP, Look(scheme="dark")], ids=str)
def test_borders_are_seen_on_every_row(look: Look, enter: Enter) -> None:
    for version in "12":
        a_run(running=True, version=version)
    visitor = enter(look)
    for address, kinds in {
        url("overview"): "#ow-registered :is(.ow-chip, .ow-row-button)",
        url("changelist"): "#ow-results :is(.ow-chip, .ow-row-button)",
    }.items():
        found = visitor.visit(address).locator(kinds).all()
        assert len(found) >= 4
        assert min(one.evaluate(_CONTRAST) for one in found) >= 3


def test_a_text_that_turns_the_direction_turns_only_itself(enter: Enter) -> None:
    run = a_run(completed=True, output=["invoice\u202efdp", 7], input={"\u202ekey": True})
    page = enter().see(run)
    for place in ("#ow-output .ow-text", "#ow-input .ow-key"):
        shown = page.locator(place)
        after = """one => {
            const range = document.createRange();
            range.setStart(one.nextSibling, 0);
            range.setEnd(one.nextSibling, 1);
            return range.getBoundingClientRect().left - one.getBoundingClientRect().right;
        }"""
        assert abs(shown.evaluate(after)) < 1
