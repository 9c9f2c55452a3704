"""The list: what it shows, how it is narrowed, and that it costs the same whatever there is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_openworkflow.admin import changelist
from django_openworkflow.admin.searching import short_id
from django_openworkflow.models import WorkflowRun
from tests.admin.addresses import url, url_of
from tests.admin.places import pages, scene
from tests.admin.rows import make_run
from tests.factories import create_many

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db
LIST = "changelist"


def listed(client: Client, query: str = "") -> set[Any]:
    response = client.get(url(LIST) + query)
    assert response.status_code == 200
    return {run.pk for run in response.context["cl"].result_list}


# --- what it shows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "words"),
    [
        ("scheduled", "Pending"),
        ("running", "Running"),
        ("parked", "Sleeping"),
        ("sleeping_legacy", "Sleeping"),
        ("completed", "Completed"),
        ("succeeded_legacy", "Completed"),
        ("failed", "Failed"),
        ("canceled", "Canceled"),
    ],
)
def test_each_state_has_its_badge(viewer: Client, trait: str, words: str) -> None:
    make_run(**{trait: True})
    page = viewer.get(url(LIST)).content.decode()
    assert f'<span class="ow-badge ow-badge-{words.lower()}">{words}</span>' in page


def test_a_row_tells_workflow_version_id_and_age(viewer: Client) -> None:
    run = make_run(workflow_name="sync", version="7", completed=True)
    page = viewer.get(url(LIST)).content.decode()
    assert 'sync <span class="ow-chip">v7</span>' in page
    assert short_id(run.pk) in page
    assert f'title="{run.pk}"' in page
    assert f'<time datetime="{run.created_at.isoformat()}"' in page


def test_payloads_stay_in_the_database(viewer: Client) -> None:
    make_run(completed=True, input={"secret": "x" * 100})
    with CaptureQueriesContext(
        connection,
    ) as queries:
        viewer.get(url(LIST))
    read = [query["sql"] for query in queries if '"worker_id"' in query["sql"]]
    assert len(read) == 1
    assert not any(f'"{column}"' in read[0] for column in changelist.PAYLOADS)


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("pending", {"scheduled", "retrying"}),
        ("running", {"running"}),
        ("sleeping", {"parked", "sleeping_legacy"}),
        ("completed", {"completed", "succeeded_legacy"}),
        ("failed", {"failed"}),
        ("canceled", {"canceled"}),
        ("active", {"scheduled", "retrying", "running", "parked", "sleeping_legacy"}),
    ],
)
def test_the_states_are_apart(viewer: Client, state: str, expected: set[str]) -> None:
    traits = ["scheduled", "retrying", "running", "parked", "sleeping_legacy"]
    traits += ["completed", "succeeded_legacy", "failed", "canceled"]
    runs = {make_run(**{trait: True}).pk: trait for trait in traits}
    assert {runs[pk] for pk in listed(viewer, f"?status={state}")} == expected


def test_by_workflow_version_age_and_parent(viewer: Client) -> None:
    old = make_run(workflow_name="sync", version="1")
    WorkflowRun._base_manager.update(created_at=timezone.now() - timedelta(hours=3))
    parent = make_run(workflow_name="process-order", version="2")
    child = make_run(workflow_name="sync", version="2", child=True, parent=parent)
    assert listed(viewer, "?workflow=sync") == {old.pk, child.pk}
    assert listed(viewer, "?version=2") == {parent.pk}  # of the workflows registered with it
    assert listed(viewer, "?workflow=sync&version=2") == {child.pk}
    assert listed(viewer, "?created=1h") == {parent.pk, child.pk}
    assert listed(viewer, "?created=24h") == {old.pk, parent.pk, child.pk}
    assert listed(viewer, "?parent=yes") == {child.pk}
    assert listed(viewer, "?parent=no") == {old.pk, parent.pk}


def test_filters_offer_names_of_rows_and_of_code(viewer: Client) -> None:
    make_run(workflow_name="only-in-rows")
    page = viewer.get(url(LIST)).content.decode()
    assert "?workflow=only-in-rows" in page
    assert "?workflow=process-order" in page
    assert "?version=2" in page


@pytest.mark.parametrize(
    "query", ["?status=x", "?created=x", "?parent=x", "?workflow=%00", "?version=%00"]
)
def test_nonsense_leads_to_the_whole_list(viewer: Client, query: str) -> None:
    response = viewer.get(url(LIST) + query)
    assert response.status_code == 302
    assert url_of(response) == url(LIST) + "?e=1"


# --- search ---------------------------------------------------------------------------------------


def test_runs_are_found_by_what_people_paste(viewer: Client) -> None:
    run = make_run(workflow_name="bill-customers", idempotency_key="order-7")
    neighbour = UUID(int=run.pk.int ^ 1)
    other = make_run(id=neighbour, workflow_name="sync", idempotency_key=str(run.pk))
    text = str(run.pk)
    assert listed(viewer, f"?q={text}") == {run.pk, other.pk}  # an id, and a key that is one
    assert listed(viewer, f"?q={text.upper()}") == {run.pk}
    assert listed(viewer, f"?q={run.pk.hex}") == {run.pk}
    assert run.pk in listed(viewer, f"?q={text[:8]}")
    assert run.pk in listed(viewer, f"?q={text[:13]}")
    assert listed(viewer, f"?q={short_id(run.pk)}") == {run.pk}
    assert listed(viewer, "?q=order-7") == {run.pk}
    assert listed(viewer, "?q= bill-cus ") == {run.pk}
    assert listed(viewer, "?q=BILL") == set()
    assert listed(viewer, "?q=customers") == set()
    assert listed(viewer, "?q=7") == set()
    assert listed(viewer, "?q=%25") == set()


def test_the_first_digits_of_an_id_find_no_neighbour(viewer: Client) -> None:
    runs = create_many(3)
    first = str(runs[0].pk)
    assert listed(viewer, f"?q={first[:23]}") <= {run.pk for run in runs}
    assert listed(viewer, "?q=00000000") == set()


# --- cost -----------------------------------------------------------------------------------------


def test_more_rows_than_are_counted_are_told_as_more(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "MOST_COUNTED", 60)
    create_many(70)
    page = viewer.get(url(LIST)).content.decode()
    assert "60+ workflow runs" in page
    assert viewer.get(url(LIST) + "?p=2").status_code == 200


def test_every_page_costs_the_same_with_one_run_and_with_many(operator: Client) -> None:
    there = scene()
    make_run()  # one that is due
    for _right, address in pages(there).values():  # content types are looked up once
        operator.get(address)
    few = {name: cost(operator, address) for name, (_right, address) in pages(there).items()}
    for _ in range(15):
        scene("y")
    create_many(60)
    many = {name: cost(operator, address) for name, (_right, address) in pages(there).items()}
    assert many == few
    assert max(many.values()) <= 20


def cost(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def test_the_log_is_not_touched_by_looking(viewer: Client) -> None:
    viewer.get(url(LIST))
    assert not LogEntry.objects.exists()
