"""What Prometheus is told: by the tables, by the meters of a process, over HTTP and in a view."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, transaction
from django.test import Client, override_settings
from prometheus_client import CollectorRegistry

from django_openworkflow import RetryPolicy, Step, clock, workflow
from django_openworkflow.contrib.prometheus import Meters, TableCollector, tables
from django_openworkflow.contrib.prometheus.scraping import meters, serving
from django_openworkflow.models import WorkflowRun
from django_openworkflow.store import figures
from django_openworkflow.testing import advance, run_until_idle
from tests.contrib.samples import parse, scrape, value
from tests.engine.passes import raiser
from tests.factories import WorkflowRunFactory
from tests.worker.workers import Gate, wait_for_end, wait_until, working

if TYPE_CHECKING:
    from pytest_django import DjangoCaptureOnCommitCallbacks

TOKEN = "a-long-token"  # noqa: S105 - the tests' own


@pytest.fixture
def measured() -> Iterator[Meters]:
    """Meters of the test's own."""
    own = Meters()
    own.install()
    yield own
    own.remove()


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_tables_numbers_have_the_originals_name_and_ours() -> None:
    WorkflowRunFactory.create(available_at=clock.read("default") - timedelta(minutes=2))
    WorkflowRunFactory.create(completed=True)
    samples = scrape(TableCollector())
    assert value(samples, "openworkflow_database_up") == 1
    assert {
        labels[0][1]: number
        for (name, labels), number in samples.items()
        if name == "openworkflow_workflow_runs"
    } == {
        "pending": 1,
        "running": 0,
        "sleeping": 0,
        "completed": 1,
        "succeeded": 0,
        "failed": 0,
        "canceled": 0,
    }
    oldest = value(samples, "openworkflow_queue_oldest_due_seconds", queue="default")
    assert oldest is not None
    assert 120 <= oldest < 180
    assert value(samples, "openworkflow_queue_due_runs", queue="default") == 1
    assert value(samples, "openworkflow_workers") == 0
    assert value(samples, "openworkflow_worker_slots") == 0
    assert value(samples, "openworkflow_worker_slots_used") == 0


@pytest.mark.django_db
def test_the_database_is_asked_once_in_a_while_however_many_scrape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patient, eager = TableCollector(), TableCollector(kept_seconds=0)
    for collector in (patient, eager):
        scrape(collector)
    WorkflowRunFactory.create()
    monkeypatch.setattr(eager, "_good_until", 0.0)  # its rest is over
    found = [
        value(scrape(collector), "openworkflow_workflow_runs", status="pending")
        for collector in (patient, eager)
    ]
    assert found == [0, 1]


def test_a_slow_database_is_left_in_peace_for_a_hundred_times_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock_now = [100.0]

    def slow(_using: str) -> None:
        clock_now[0] += 0.25
        raise OperationalError

    monkeypatch.setattr(tables, "time", SimpleNamespace(monotonic=lambda: clock_now[0]))
    monkeypatch.setattr(figures, "read", slow)
    collector = TableCollector()
    scrape(collector)
    clock_now[0] = 124.9
    scrape(collector)
    assert clock_now[0] == 124.9
    clock_now[0] = 125.1
    scrape(collector)
    assert clock_now[0] > 125.1


def test_a_database_that_is_away_is_one_number_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "due_levels", lambda *_facts: raiser(OperationalError("away"))())
    assert scrape(TableCollector()) == {("openworkflow_database_up", ()): 0}


def test_registering_asks_nothing() -> None:
    registry = CollectorRegistry()
    registry.register(TableCollector())  # without a database, this would fail
    registry.register(Meters())


# --- meters ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_bodies_are_timed_by_workflow_and_outcome(measured: Meters) -> None:
    @workflow("shop")
    def shop(step: Step) -> None:
        step.run("good", lambda: 1)
        step.transaction("good too", lambda: 2)
        once = RetryPolicy(maximum_attempts=1)
        step.run("bad", raiser(ValueError("no")), retry_policy=once)

    shop.start()
    run_until_idle()
    samples = scrape(measured)
    count = "openworkflow_step_duration_seconds_count"
    assert value(samples, count, workflow="shop", outcome="completed") == 2
    assert value(samples, count, workflow="shop", outcome="failed") == 1
    bucket = "openworkflow_step_duration_seconds_bucket"
    assert value(samples, bucket, workflow="shop", outcome="completed", le="+Inf") == 2


@pytest.mark.django_db
def test_every_way_in_which_a_run_ends_is_counted_once(
    measured: Meters, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    @workflow("shop")
    def shop(step: Step, ends: str) -> None:
        if ends == "badly":
            raise ValueError
        if ends == "late":
            step.sleep("long", "10h")

    for ends in ("well", "badly", "late"):
        shop.using(deadline_at="2h").start(ends=ends)
    runs = [shop.using(available_at="1d").start(ends="never") for _ in range(2)]
    with django_capture_on_commit_callbacks(execute=True):
        run_until_idle()
        advance("3h")
        run_until_idle()
        WorkflowRun.objects.filter(pk__in=[run.id for run in runs]).cancel_active()
    samples = scrape(measured)
    counted = {
        outcome: value(
            samples, "openworkflow_runs_finished_total", workflow="shop", outcome=outcome
        )
        for outcome in ("completed", "failed", "canceled")
    }
    assert counted == {"completed": 1, "failed": 2, "canceled": 2}


@pytest.mark.django_db
def test_a_cancel_that_is_rolled_back_is_not_counted(measured: Meters) -> None:
    WorkflowRunFactory.create()
    WorkflowRun.objects.all().cancel_active()  # the test's transaction never commits
    name = "openworkflow_runs_finished_total"
    assert [key for key in scrape(measured) if key[0] == name] == []


@pytest.mark.django_db(transaction=True)
def test_the_time_from_a_cancel_to_its_notice_is_measured_by_the_databases_clock(
    measured: Meters,
) -> None:
    gate = Gate()

    @workflow("long")
    def long(step: Step) -> None:
        def body() -> None:
            gate.body()
            wait_until(lambda: step.cancel_requested, "word of the cancel")

        step.run("wait", body)

    handle = long.start()
    with gate, working(lease_seconds=1.5):
        gate.wait_until_entered()
        handle.cancel()
        gate.open()
        wait_for_end(handle)
    samples = scrape(measured)
    assert value(samples, "openworkflow_cancel_latency_seconds_count") == 1
    total = value(samples, "openworkflow_cancel_latency_seconds_sum")
    assert total is not None
    assert 0 <= total < 10
    assert value(scrape(measured), "openworkflow_cancel_latency_seconds_count") == 1


@pytest.mark.django_db
def test_a_cancel_of_a_run_that_was_retried_meanwhile_is_not_measured(measured: Meters) -> None:
    run = WorkflowRunFactory.create()
    measured.cancel_noticed(run.pk)
    assert value(scrape(measured), "openworkflow_cancel_latency_seconds_count") == 0


# --- the view -------------------------------------------------------------------------------------


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


def test_the_meters_of_a_process_are_one() -> None:
    assert meters() is meters()


# --- without, and with several processes ----------------------------------------------------------


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "testproject.settings", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_the_package_the_message_says_what_to_install() -> None:
    done = python(
        "import sys, django; django.setup(); sys.modules['prometheus_client'] = None\n"
        "import django_openworkflow.contrib.prometheus.urls"
    )
    assert ImproperlyConfigured.__name__ in done.stderr
    assert 'pip install "django-openworkflow[prometheus]"' in done.stderr.splitlines()[-1]


def test_the_meters_of_processes_that_share_a_folder_are_added_up(tmp_path: Any) -> None:
    code = """
import django
django.setup()
from prometheus_client.exposition import generate_latest
from django_openworkflow.contrib.prometheus.meters import Meters
from django_openworkflow.contrib.prometheus import scraping
scraping.TableCollector.collect = lambda self: ()
registry = scraping.new_registry()
scraping.meters()._ends.labels("shop", "completed").inc()
print(generate_latest(registry).decode())
"""
    texts = [python(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) for _ in range(2)]
    found = [
        value(
            parse(text.stdout),
            "openworkflow_runs_finished_total",
            workflow="shop",
            outcome="completed",
        )
        for text in texts
    ]
    assert found == [1, 2], texts[0].stderr


@pytest.mark.skipif(connection.vendor != "postgresql", reason="row locks")
@pytest.mark.django_db(transaction=True)
def test_a_scrape_waits_for_no_lock() -> None:
    run = WorkflowRunFactory.create()
    with serving("127.0.0.1", 0) as port, transaction.atomic():
        WorkflowRun.objects.cancel(run)
        assert value(parse(fetch(port)), "openworkflow_workflow_runs", status="pending") == 1
