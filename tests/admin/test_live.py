"""Parts of pages, asked for again and again: rendered only when they would look different."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from django_openworkflow.admin import live
from django_openworkflow.models import WorkflowRun
from tests.admin.addresses import on_run, url
from tests.admin.rows import make_attempt, make_run, make_worker

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def again(client: Client, address: str, etag: str) -> Any:
    return client.get(address, headers={"If-None-Match": etag})


@pytest.fixture(autouse=True)
def _slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test be at the edge of the ten seconds after which a list tells its times anew."""
    monkeypatch.setattr(live, "_SECONDS", 10**12)


def ended_long_ago() -> WorkflowRun:
    """Return a run whose picture does not change by itself."""
    return make_run(completed=True)


def test_nothing_is_rendered_while_nothing_changes(viewer: Client) -> None:
    run = ended_long_ago()
    for address in (on_run("live_run", run), url("live_list")):
        first = viewer.get(address)
        assert first.status_code == 200
        assert 'class="ow-parts"' in first.content.decode()
        second = again(viewer, address, first["ETag"])
        assert (second.status_code, second.content, second["ETag"]) == (304, b"", first["ETag"])


def test_a_change_is_rendered(viewer: Client) -> None:
    run = make_run(running=True)
    part = on_run("live_run", run)
    etags = [viewer.get(part)["ETag"]]
    make_attempt(workflow_run=run, step_name="new")
    etags.append(viewer.get(part)["ETag"])
    run.cancel()
    last = again(viewer, part, etags[-1])
    assert last.status_code == 200
    assert 'data-ow-active=""' in last.content.decode()
    assert 'data-ow-news="Canceled"' in last.content.decode()
    assert len({*etags, last["ETag"]}) == 3


def test_a_new_run_changes_the_list_and_not_another_page_of_it(viewer: Client) -> None:
    make_run(workflow_name="sync")
    whole, narrowed = url("live_list"), url("live_list") + "?workflow=other"
    before = viewer.get(whole)["ETag"], viewer.get(narrowed)["ETag"]
    make_run(workflow_name="sync")
    assert again(viewer, whole, before[0]).status_code == 200
    assert again(viewer, narrowed, before[1]).status_code == 304


def test_the_part_of_a_list_brings_whatever_counts_its_rows(operator: Client) -> None:
    make_run(running=True)
    make_run()
    part = operator.get(url("live_list") + "?status=running").content.decode()
    assert 'data-actions-icnt="1"' in part
    assert "1 result " in part
    assert "1 workflow run\n" in part
    assert '<option value="cancel_selected_runs">' in part


def test_who_may_only_look_has_no_actions_in_a_part_either(viewer: Client) -> None:
    make_run()
    part = viewer.get(url("live_list")).content.decode()
    assert "1 workflow run\n" in part
    assert "cancel_selected_runs" not in part
    assert "action-select" not in part


def test_the_picture_of_an_active_run_grows_with_time(viewer: Client) -> None:
    run = make_run(running=True)
    part = on_run("live_run", run)
    WorkflowRun._base_manager.update(created_at=timezone.now() - timedelta(seconds=1))
    etag = viewer.get(part)["ETag"]
    WorkflowRun._base_manager.update(created_at=timezone.now() - timedelta(hours=1))
    assert again(viewer, part, etag).status_code == 200


def test_a_worker_that_comes_changes_the_overview(viewer: Client) -> None:
    part = url("live_overview")
    etag = viewer.get(part)["ETag"]
    assert again(viewer, part, etag).status_code == 304
    make_worker(name="new-worker")
    response = again(viewer, part, etag)
    assert response.status_code == 200
    assert "new-worker" in response.content.decode()


def test_two_users_never_share_a_part(viewer: Client, operator: Client) -> None:
    run = make_run(running=True)
    part = on_run("live_run", run)
    for_viewer, for_operator = viewer.get(part), operator.get(part)
    assert for_viewer["ETag"] != for_operator["ETag"]
    assert "cancel_run" not in for_viewer.content.decode()
    assert on_run("cancel_run", run) in for_operator.content.decode()
    assert "no-store" in for_operator["Cache-Control"]


def test_a_part_keeps_the_filters_of_the_list(operator: Client) -> None:
    make_run(running=True)
    query = "?status=running&workflow=process-order"
    page = operator.get(url("changelist") + query).content.decode()
    part = operator.get(url("live_list") + query).content.decode()
    links = re.findall(r'href="[^"]*"', part)
    assert any("_changelist_filters=status%3Drunning" in link for link in links)
    assert [link for link in links if link not in page] == []
    address = f'data-ow-live="{url("live_list")}{query.replace("&", "&amp;")}"'
    assert address in page


@pytest.mark.parametrize("query", ["?status=x", "?created=x"])
def test_nonsense_is_not_found(viewer: Client, query: str) -> None:
    assert viewer.get(url("live_list") + query).status_code == 404


def test_a_run_that_is_gone_is_not_found(viewer: Client) -> None:
    assert viewer.get(on_run("live_run", WorkflowRun(workflow_name="gone"))).status_code == 404
