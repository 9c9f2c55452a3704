"""The card of the audit: who canceled a run, by which door, and what operators did to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils.formats import date_format

from django_openworkflow.states import CancelSource
from tests.admin.addresses import on_run
from tests.admin.conftest import refresh
from tests.admin.rows import make_run
from tests.admin.test_run_page import page_of, text_of

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def test_a_cancel_by_code_is_told_with_its_reason(viewer: Client) -> None:
    run = make_run(running=True)
    run.cancel(reason="fraud", actor="the nightly job")
    text = text_of(page_of(viewer, run))
    assert "Canceled through code by the nightly job. fraud" in text
    assert "No operator action" not in text
    ended_at = refresh(run).finished_at
    assert ended_at is not None
    assert f"Audit {date_format(ended_at, 'DATETIME_FORMAT')} Canceled" in text


@pytest.mark.parametrize("source", [*CancelSource, "a newer door"])
@pytest.mark.parametrize("actor", ["", "100% ada"])
def test_each_way_to_cancel_has_a_sentence(viewer: Client, source: str, actor: str) -> None:
    run = make_run(canceled=True)
    columns = {"cancel_source": source, "cancel_actor": actor, "cancel_reason": ""}
    type(run)._base_manager.filter(pk=run.pk).update(**columns)
    text = text_of(page_of(viewer, run).partition('id="ow-audit"')[2].partition("</section>")[0])
    words = {
        "api": "through code",
        "admin": "in the admin",
        "command": "from the command line",
        "cascade": "with its parent run",
        "client": "through a client in another language",
    }
    how = f" {words[source]}" if source in words else ""
    by = f" by {actor}" if actor else ""
    assert text.endswith(f" Canceled{how}{by}. ")
    assert (" by " in text) == bool(actor)


def test_a_run_that_nobody_touched_says_so(viewer: Client) -> None:
    assert "Audit No operator action so far." in text_of(page_of(viewer, make_run()))


def test_what_operators_did_is_in_the_audit(operator: Client) -> None:
    run = make_run(running=True)
    operator.post(on_run("cancel_run", run), {"reason": "a whim"})
    operator.post(on_run("retry_run", run), {"reason": "regret"})
    text = text_of(page_of(operator, run))
    assert "Canceled. Reason: a whim" in text
    assert "Retried. Reason: regret" in text
    assert text.index("Retried.") < text.index("Canceled. Reason")
    history = operator.get(on_run("history", run)).content.decode()
    assert "Canceled. Reason: a whim" in history
