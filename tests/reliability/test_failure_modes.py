"""Failure modes that no other test provokes; and that ``docs/failure-modes.md`` is complete."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection
from django.test.utils import CaptureQueriesContext, override_settings

import django_openworkflow
from benchmarks.reliability.lines import LINES
from django_openworkflow import Step, workflow
from django_openworkflow.registry import registry
from django_openworkflow.testing import run_until_idle
from django_openworkflow.worker.worker import Worker, WorkerOptions
from tests.worker.workers import wait_until

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(django_openworkflow.__path__[0])
PAGE = ROOT / "docs" / "failure-modes.md"
_MODES = 71
_NOTHING = "\u2013"


# --- the page -----------------------------------------------------------------------------------


def rows() -> dict[str, list[str]]:
    """Return the cells of each row by its number."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("| "): row[1:] for row in cells if re.fullmatch(r"\|? ?F\d\d", row[0])}


def test_every_failure_mode_is_there_once() -> None:
    numbers = re.findall(r"^\| (F\d\d) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(numbers) == [f"F{number:02}" for number in range(1, _MODES + 1)]


@pytest.mark.parametrize("number", sorted(rows()))
def test_every_failure_mode_names_what_provokes_it_or_why_it_cannot_occur(number: str) -> None:
    _failure, here, provoked_by = rows()[number]
    if provoked_by.strip("| ") == _NOTHING:
        assert here.startswith("Cannot ")
        return
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", provoked_by)
    lines = re.findall(r"\bK\d+\b", provoked_by)
    assert tests or lines
    for path, name in tests:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(?:async def|def|class) {name}\b", source, re.MULTILINE), name
    assert set(lines) <= LINES.keys()


# --- the database -------------------------------------------------------------------------------


def test_nothing_needs_a_session_of_its_own() -> None:
    """What a transaction pooler breaks is not used, but for the listener, which is only a hint."""
    session_state = re.compile(
        r"pg_advisory_lock\(|pg_try_advisory_lock\(|CREATE TEMP|\bSET SESSION|WITH HOLD|"
        r"\"SET (?!LOCAL|CONSTRAINTS)"
    )
    for path in PACKAGE.rglob("*.py"):
        assert not session_state.search(path.read_text(encoding="utf-8")), path


@pytest.mark.django_db
def test_the_hot_path_notifies_nobody() -> None:
    with registry.isolated():

        @workflow("quiet")
        def quiet(step: Step) -> int:
            return step.run("one", lambda: 1) + step.run("two", lambda: 2)

        handle = quiet.start()
        with CaptureQueriesContext(connection) as queries:
            run_until_idle()
    assert handle.result(timeout=0) == 3
    assert not [query for query in queries if "notify" in query["sql"].lower()]


class _ReadsElsewhere:
    """A router that sends all reads to a replica that is not there."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "a-stale-replica"


@pytest.mark.django_db
def test_a_router_that_sends_reads_elsewhere_is_never_asked() -> None:
    """A read by the engine without ``using`` would end here with an unknown alias."""
    with registry.isolated():

        @workflow("routed")
        def routed(step: Step) -> int:
            first = step.run("one", lambda: 1)
            step.sleep("nap", "0s")
            return first

        handle = routed.start()
        router = f"{__name__}.{_ReadsElsewhere.__name__}"
        with override_settings(DATABASE_ROUTERS=[router]):
            run_until_idle()
    assert handle.result(timeout=0) == 1


@pytest.mark.django_db(transaction=True)
def test_an_idle_worker_asks_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """With pauses from 20 ms to half a second, two idle seconds hold a dozen claims at most."""
    claims: list[float] = []
    worker = Worker(
        WorkerOptions(
            using=DEFAULT_DB_ALIAS, concurrency=1, lease_seconds=30, poll_seconds=(0.02, 0.5)
        )
    )
    wait = worker._wait

    def counted(*args: Any, **kwargs: Any) -> None:
        claims.append(time.monotonic())
        wait(*args, **kwargs)

    monkeypatch.setattr(worker, "_wait", counted)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: len(claims) >= 3, "the first claims")
        thread.join(2)
    finally:
        worker.request_stop()
        thread.join(10)
    assert len(claims) <= 20
