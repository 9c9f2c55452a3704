"""Who may scrape, in a view and over a port, and what the answer looks like."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client, override_settings

from django_openworkflow.contrib.prometheus.scraping import serving
from django_openworkflow.models import WorkflowRun
from tests.contrib.samples import parse, value
from tests.factories import WorkflowRunFactory

TOKEN = "a-long-token"  # noqa: S105 - the tests' own


@pytest.fixture
def client() -> Iterator[Client]:
    with override_settings(ROOT_URLCONF="tests.contrib.urls"):
        yield Client()


def get(client: Client, url: str, **headers: str) -> Any:
    return client.get(url, headers=headers)


@pytest.mark.django_db
def test_the_token_opens_the_page(client: Client) -> None:
    answer = get(client, "/metrics/", authorization=f"Bearer {TOKEN}")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in answer["Cache-Control"]
    samples = parse(answer.content.decode())
    assert value(samples, "openworkflow_database_up") == 1
    assert value(samples, "openworkflow_cancel_latency_seconds_count") is not None
    assert "# TYPE openworkflow_step_duration_seconds histogram" in answer.content.decode()


@pytest.mark.django_db
def test_a_scraper_gets_the_format_it_asks_for(client: Client) -> None:
    wanted = "application/openmetrics-text; version=1.0.0"
    answer = get(client, "/metrics/", authorization=f"bearer {TOKEN}", accept=wanted)
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    assert answer.content.endswith(b"# EOF\n")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("url", "authorization"),
    [
        ("/metrics/", ""),
        ("/metrics/", "Bearer "),
        ("/metrics/", f"Bearer {TOKEN}x"),
        ("/metrics/", f"Basic {TOKEN}"),
        ("/metrics/", f"Bearer {TOKEN}é"),
        ("/open/", ""),
        ("/open/", "Bearer "),
        ("/open/", "Bearer None"),
    ],
)
def test_nobody_else_comes_in(client: Client, url: str, authorization: str) -> None:
    answer = get(client, url, authorization=authorization)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')
    assert b"openworkflow" not in answer.content


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({"is_staff": True}, 200),
        ({"is_staff": False}, 401),
        ({"is_staff": True, "is_active": False}, 401),
    ],
)
def test_members_of_the_staff_come_in_without_a_token(
    client: Client, facts: dict[str, bool], status: int
) -> None:
    client.force_login(get_user_model().objects.create_user("ada", None, None, **facts))
    assert get(client, "/open/").status_code == status


@pytest.mark.django_db
def test_the_page_is_for_reading(client: Client) -> None:
    assert client.post("/metrics/").status_code == 405


# --- a port ---------------------------------------------------------------------------------------


def fetch(port: int) -> str:
    """Scrape a port of this machine."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.django_db(transaction=True)
def test_a_port_answers_from_a_connection_of_its_own_while_the_block_runs() -> None:
    WorkflowRunFactory.create()
    with serving("127.0.0.1", 0) as port:
        samples = parse(fetch(port))
        assert value(samples, "openworkflow_workflow_runs", status="pending") == 1
        assert value(samples, "openworkflow_cancel_latency_seconds_count") is not None
    with pytest.raises(OSError, match="refused"):
        fetch(port)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="row locks")
@pytest.mark.django_db(transaction=True)
def test_a_scrape_waits_for_no_lock() -> None:
    run = WorkflowRunFactory.create()
    with serving("127.0.0.1", 0) as port, transaction.atomic():
        WorkflowRun.objects.cancel(run)
        assert value(parse(fetch(port)), "openworkflow_workflow_runs", status="pending") == 1
