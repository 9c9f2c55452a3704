"""What the meters of a process count and time, and that processes are added up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_openworkflow import RetryPolicy, Step, workflow
from django_openworkflow.contrib.prometheus import Meters
from django_openworkflow.contrib.prometheus.scraping import meters
from django_openworkflow.models import WorkflowRun
from django_openworkflow.testing import advance, run_until_idle
from tests.contrib.samples import parse, scrape, value
from tests.engine.passes import raiser
from tests.factories import WorkflowRunFactory
from tests.worker.workers import Gate, wait_for_end, wait_until, working

if TYPE_CHECKING:
    from pytest_django import DjangoCaptureOnCommitCallbacks


@pytest.fixture
def measured() -> Iterator[Meters]:
    """Meters of the test's own."""
    own = Meters()
    own.install()
    yield own
    own.remove()


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
    with gate, working(lease_seconds=6):
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


def test_the_meters_of_a_process_are_one() -> None:
    assert meters() is meters()


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
