"""What rows may hold and no page may be broken by: long words, long lines, foreign scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.browser.pages import DESKTOP, Look
from tests.factories import StepAttemptFactory

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.browser.conftest import Enter

PHONE: Final = Look(width=375, height=800)
ADMIN: Final = "/admin/django_openworkflow"


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
