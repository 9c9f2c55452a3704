"""What the tables tell Prometheus, and how seldom they are asked."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from prometheus_client import CollectorRegistry

from django_openworkflow import clock
from django_openworkflow.contrib.prometheus import Meters, TableCollector, tables
from django_openworkflow.store import figures
from tests.contrib.samples import scrape, value
from tests.engine.passes import raiser
from tests.factories import WorkflowRunFactory


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
    monkeypatch.setattr(tables, "time", SimpleNamespace(monotonic=lambda: 100.0))
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
