"""Long histories and large payloads: what is shown of them, and how much is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import translation

from django_openworkflow.admin import attempts
from django_openworkflow.admin.payloads import LARGEST_SHOWN, highlighted
from tests.admin.addresses import url
from tests.admin.rows import make_attempt, make_run
from tests.admin.test_run_page import page_of, text_of

if TYPE_CHECKING:
    from django.test import Client

    from django_openworkflow.models import WorkflowRun

pytestmark = pytest.mark.django_db


def long_run(steps: int) -> WorkflowRun:
    """Return a run with so many steps, two tries of each but the last, which failed."""
    run = make_run(failed=True)
    for number in range(steps - 1):
        make_attempt(workflow_run=run, step_name=f"step-{number}", failed=True)
        make_attempt(workflow_run=run, step_name=f"step-{number}", completed=True)
    make_attempt(workflow_run=run, step_name=f"step-{steps - 1}", failed=True)
    return run


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST_ATTEMPTS", 6)
    monkeypatch.setattr(attempts, "MOST_TOLD", 3)


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(("steps", "untold"), [(2, 0), (3, 2), (5, 6)])
def test_a_long_run_shows_its_last_attempts(viewer: Client, steps: int, untold: int) -> None:
    page = page_of(viewer, long_run(steps))
    cards = re.findall(r'class="ow-attempt".*?<strong>(.*?)</strong>.*?attempt (\d)', page, re.S)
    last, before = f"step-{steps - 1}", f"step-{steps - 2}"
    assert cards == [(before, "1"), (before, "2"), (last, "1")]
    address = url("changelist", model="stepattempt") + "?q="
    assert (f"{untold} earlier attempts are not shown." in page) == (untold > 0)
    assert (address in page) == (untold > 0)


@pytest.mark.usefixtures("_few")
def test_an_early_wait_is_still_told(viewer: Client) -> None:
    run = make_run(parked=True)
    make_attempt(workflow_run=run, signal_wait=True)
    for _ in range(8):
        make_attempt(workflow_run=run, completed=True)
    assert "Waits for signal approval" in text_of(page_of(viewer, run))


@pytest.mark.usefixtures("_few")
def test_tries_are_numbered_from_the_first(viewer: Client) -> None:
    run = make_run(failed=True)
    tries = [make_attempt(workflow_run=run, step_name="charge", failed=True) for _ in range(9)]
    page = page_of(viewer, run)
    assert re.findall(r"attempt (\d+) ·", page) == ["7", "8", "9"]
    assert f'id="attempt-{tries[-1].pk}"' in page


@pytest.mark.usefixtures("_few")
def test_every_step_of_the_timeline_leads_somewhere(viewer: Client) -> None:
    run = long_run(4)
    page = page_of(viewer, run)
    plot = page.partition('id="ow-timeline"')[2].partition("</section>")[0]
    links = re.findall(r'<a href="(.*?)">step-', plot)
    assert len(links) == 4
    for link in links:
        is_there = f'id="{link[1:]}"' in page if link[0] == "#" else viewer.get(link)
        assert getattr(is_there, "status_code", is_there) in {True, 200}, link
    assert {link[0] for link in links} == {"#", "/"}


@pytest.mark.usefixtures("_few")
def test_what_one_may_not_see_is_not_linked(client_of: Any) -> None:
    client = client_of("view")
    own = Permission.objects.get(codename="view_workflowrun")
    get_user_model().objects.get(username="view").user_permissions.set([own])
    page = page_of(client, long_run(4))
    assert "4 earlier attempts are not shown." in page
    assert "/stepattempt/" not in page


def test_a_large_output_is_left_in_the_database(viewer: Client) -> None:
    run = make_run(completed=True, output=["z" * (LARGEST_SHOWN + 100)])
    make_attempt(workflow_run=run, completed=True, output="y" * (LARGEST_SHOWN + 100))
    page = page_of(viewer, run)
    assert "The output is too long to be shown here." in page
    assert "yyyyyyyy" not in page
    assert "z" * 1000 in page
    assert '<span class="ow-cut">… +' in page


def test_how_much_is_cut_is_written_as_in_the_language() -> None:
    for language, number in (("en", "850,002"), ("de", "850.002")):
        with translation.override(language):
            cut = highlighted("x" * (LARGEST_SHOWN + 850_000))
        assert cut.endswith(f'<span class="ow-cut">… +{number}</span>')


def test_the_legend_names_every_colour(viewer: Client) -> None:
    run = make_run(running=True)
    run.cancel()
    page = page_of(viewer, run)
    assert 'class="ow-bar ow-bar-canceled"' in page
    for kind in ("completed", "running", "failed", "canceled", "waiting", "queued"):
        assert f'<li class="ow-legend-{kind}">{kind}</li>' in page
