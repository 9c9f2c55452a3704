"""Every page, light and dark, wide and narrow: nothing forbidden, nothing too wide, no barrier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testproject.office import gallery
from tests.browser.pages import LOOKS, THOROUGH, Look, url

if TYPE_CHECKING:
    from tests.browser.conftest import Enter


# Every page is seen twice, which takes axe a while; these are seen in all four looks.
MOST_SEEN = {"list", "overview", "run that sleeps", "cancel", "start"}


def addresses() -> dict[str, str]:
    """Hang the gallery, and return every page that is worth a look."""
    onboarding, failed, canceled, slept = gallery.hang(runs=30)
    attempt = onboarding.step_attempts.order_by("pk")[0]
    admin = "/admin/django_openworkflow"
    return {
        "list": url("changelist"),
        "filtered list": url("changelist") + "?status=failed",
        "overview": url("overview"),
        "run that sleeps": url("change", onboarding.pk),
        "run that failed": url("change", failed.pk),
        "run that was canceled": url("change", canceled.pk),
        "run with short waits": url("change", slept.pk) + "?waits=short",
        "cancel": url("cancel_run", onboarding.pk),
        "retry": url("retry_run", failed.pk),
        "not possible": url("cancel_run", failed.pk),
        "send a signal": url("send_signal", onboarding.pk),
        "start": url("start_run"),
        "attempt": f"{admin}/stepattempt/{attempt.pk}/change/",
        "attempts": f"{admin}/stepattempt/",
        "workers": f"{admin}/workerprocess/",
        "history": url("history", onboarding.pk),
    }


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_every_page_passes(look: Look, enter: Enter) -> None:
    visitor = enter(look)
    found: dict[str, object] = {}
    for name, address in addresses().items():
        if not (name in MOST_SEEN or look in THOROUGH):
            continue
        visitor.visit(address)
        # What the console says is looked at first: axe itself does what the policy forbids.
        complaints = visitor.complaints[:]
        problems = [*complaints, *visitor.barriers()]
        if wide := visitor.overflow():
            problems.append(f"{wide} pixels too wide")
        if problems:
            found[name] = problems
        visitor.complaints.clear()
    assert found == {}


def test_the_question_about_many_runs_passes(enter: Enter) -> None:
    gallery.hang(runs=30)
    visitor = enter()
    page = visitor.visit(url("changelist"))
    page.locator("#action-toggle").check()
    visitor.choose_action("Cancel selected workflow runs")
    assert page.locator(".ow-group").count() == 3
    assert visitor.complaints == []
    assert visitor.barriers() == []
    visitor.complaints.clear()
