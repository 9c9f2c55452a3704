"""A tiny measurement of our own contestant, through its real programs, on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contestants import OURS, Bench, Failed, wait_until

PATIENCE_SECONDS = 60


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(OURS, f"sqlite:///{tmp_path / 'bench.sqlite3'}", log=tmp_path / "log")
    made.drive("init")
    return made


def test_starts_are_measured(bench: Bench) -> None:
    assert bench.drive("start", "--size", 3)["per_second"] > 0
    assert bench.drive("start-many", "--size", 20)["per_second"] > 0
    assert bench.events("S") == []


def test_cancels_are_measured(bench: Bench) -> None:
    assert bench.drive("cancel-one", "--size", 3)["p50_ms"] > 0
    assert bench.drive("cancel-many", "--size", 20)["per_second"] > 0


@pytest.mark.parametrize("workflow", ["three", "three-async"])
def test_a_worker_logs_what_it_does(bench: Bench, workflow: str) -> None:
    bench.drive("start-many", "--size", 5, "--workflow", workflow)
    with bench.workers("--concurrency", 2) as [worker]:
        wait_until(lambda: len(bench.events("S")) == 5, seconds=PATIENCE_SECONDS)
    assert worker.poll() is not None
    assert len({event.moment for event in bench.events("S")}) == 5
    assert all(event.at > float(event.moment) for event in bench.events("S"))


def test_a_driver_that_fails_says_why(bench: Bench) -> None:
    with pytest.raises(Failed, match="no_such"):
        bench.drive("start", "--workflow", "no-such")


def test_a_worker_that_ends_is_noticed(tmp_path: Path) -> None:
    without_tables = Bench(OURS, f"sqlite:///{tmp_path / 'empty.sqlite3'}", log=tmp_path / "log")
    with pytest.raises(Failed, match="a worker ended"), without_tables.workers() as [worker]:
        worker.wait(PATIENCE_SECONDS)


def test_what_does_not_come_is_not_waited_for_for_ever() -> None:
    with pytest.raises(Failed, match="within 0 seconds"):
        wait_until(lambda: False, seconds=0)
