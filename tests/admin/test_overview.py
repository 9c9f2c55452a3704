"""The overview: numbers of the present and of the last hours, each bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone, translation

from django_openworkflow.admin import throughput
from django_openworkflow.admin.changelist import MOST_COUNTED, CappedCount
from django_openworkflow.admin.overview import Card
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store import statistics
from tests.admin.addresses import url
from tests.admin.rows import make_run, make_worker
from tests.factories import create_many

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import ClientOf

CAPPED = CappedCount(MOST_COUNTED)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def ended(seconds_ago: float, took: float, **traits: Any) -> WorkflowRun:
    run = make_run(**traits)
    finished_at = timezone.now() - timedelta(seconds=seconds_ago)
    began_at = finished_at - timedelta(seconds=took)
    columns = {"finished_at": finished_at, "created_at": began_at, "started_at": began_at}
    WorkflowRun._base_manager.filter(pk=run.pk).update(**columns)
    return run


@pytest.mark.django_db
def test_cards_count_where_runs_stand_and_lead_to_them(viewer: Client) -> None:
    for trait in ("running", "parked", "sleeping_legacy", "scheduled"):
        make_run(**{trait: True})
    ended(10, 1, completed=True)
    ended(10, 1, failed=True)
    ended(90_000, 1, failed=True)  # longer ago than a day
    make_run(running=True, namespace_id="elsewhere")
    response = viewer.get(url("overview"))
    cards = {card.kind: card for card in response.context["cards"]}
    assert {kind: card.count for kind, card in cards.items()} == {
        "pending": 1,
        "running": 1,
        "sleeping": 2,
        "completed": 1,
        "failed": 1,
        "canceled": 0,
    }
    assert cards["sleeping"].url == url("changelist") + "?status=sleeping"


@pytest.mark.django_db
def test_a_card_stops_counting(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_openworkflow.admin import changelist, overview

    for module in (statistics, changelist, overview):
        monkeypatch.setattr(module, "MOST_COUNTED", 5)
    create_many(8)
    page = viewer.get(url("overview")).content.decode()
    assert '<span class="ow-big">5+</span>' in page


def test_large_numbers_are_written_as_in_the_language() -> None:
    numbers = [Card(kind="", label="", note="", url="", count=count) for count in (8500, CAPPED)]
    with translation.override("en"):
        assert [card.shown for card in numbers] == ["8,500", "10,000+"]
    with translation.override("de"):
        assert [card.shown for card in numbers] == ["8.500", "10.000+"]


@pytest.mark.django_db
@pytest.mark.parametrize("is_linked", [True, False])
def test_workers_are_linked_for_those_who_may_see_them(
    client_of: ClientOf, *, is_linked: bool
) -> None:
    client = client_of("view")
    if not is_linked:
        own = Permission.objects.filter(codename="view_workflowrun")
        get_user_model().objects.get(username="view").user_permissions.set(own)
    address = url("change", make_worker(name="alive-1").pk, model="workerprocess")
    page = client.get(url("overview")).content.decode()
    assert "alive-1" in page
    assert (f'href="{address}"' in page) == is_linked
    assert client.get(address).status_code == (200 if is_linked else 403)


@pytest.mark.django_db
def test_durations_are_those_of_completed_runs(viewer: Client) -> None:
    for took in range(1, 101):
        ended(10, took, completed=True, workflow_name="sync")
    ended(10, 5000, failed=True, workflow_name="sync")
    ended(10, 5000, failed=True, workflow_name="broken")
    ended(9 * 3600, 7000, completed=True, workflow_name="yesterday")
    response = viewer.get(url("overview"))
    rows = {row["name"]: row for row in response.context["durations"]}
    assert set(rows) == {"sync", "broken"}
    assert rows["sync"]["completed"] == 100
    assert rows["sync"]["failed"] == 1
    assert (rows["sync"]["median"], rows["sync"]["slow"]) == ("51 s", "1 m 36 s")
    assert (rows["broken"]["completed"], rows["broken"]["median"]) == (0, "–")  # noqa: RUF001
    longer = viewer.get(url("overview"), {"window": "24h"}).context["durations"]
    assert "yesterday" in {row["name"] for row in longer}


@pytest.mark.django_db
def test_it_tells_of_workers_workflows_and_what_waits(viewer: Client) -> None:
    make_worker(name="alive-1", queues=["mails"])
    make_worker(name="dead-1", dead=True)
    make_run()
    page = viewer.get(url("overview")).content.decode()
    assert "alive-1" in page
    assert "mails" in page
    assert "dead-1" not in page
    assert "The oldest pending run has been due for" in page
    assert "process-order" in page
    assert "Fulfil an order." in page


@pytest.mark.django_db
@pytest.mark.parametrize("window", ["1h", "6h", "24h", "nonsense"])
def test_every_window_opens(viewer: Client, window: str) -> None:
    ended(60, 1, completed=True)
    response = viewer.get(url("overview"), {"window": window})
    assert response.context["throughput"].total == 1


# --- throughput -----------------------------------------------------------------------------------


def bars(*counts: tuple[int, str, int]) -> throughput.Throughput:
    rows = [(NOON - timedelta(minutes=ago), status, number) for ago, status, number in counts]
    return throughput.build(rows, NOON - timedelta(hours=1), NOON, timedelta(minutes=5))


def test_nothing_ended() -> None:
    drawn = bars()
    assert (list(drawn.blocks), drawn.most, drawn.total) == ([], 0, 0)
    assert len(drawn.ticks) == 6


def test_statuses_are_stacked_in_their_span() -> None:
    drawn = bars((3, "completed", 2), (4, "succeeded", 1), (2, "failed", 1), (30, "canceled", 2))
    assert drawn.most == 4
    assert drawn.total == 6
    canceled, completed, failed = drawn.blocks
    assert [block.kind for block in drawn.blocks] == ["canceled", "completed", "failed"]
    assert completed.x == failed.x
    assert completed.height == "72.00%"
    assert failed.height == "24.00%"
    assert (failed.y, completed.y) == ("4.00%", "28.00%")
    assert float(canceled.x[:-1]) < float(completed.x[:-1])


def test_what_ended_outside_of_the_window_stands_at_its_edge() -> None:
    drawn = bars((500, "completed", 1), (-5, "failed", 1))
    assert [block.x for block in drawn.blocks] == ["0.50%", "92.17%"]
