"""runworker --metrics-port: a port while the worker works, and one line for a wrong one."""

from __future__ import annotations

import socket
import threading
import urllib.request
from argparse import ArgumentTypeError
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from django.core.management.base import CommandError

from django_openworkflow import Step, workflow
from django_openworkflow.management.metrics import Address, address, metrics_served
from django_openworkflow.models import WorkerProcess
from tests.contrib.samples import parse, value
from tests.management.conftest import make
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from tests.management.conftest import Invoke

pytestmark = pytest.mark.django_db(transaction=True)


def free_port() -> int:
    """Return a port that nobody uses."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def scrape(port: int) -> str:
    """Return what the port of a worker says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9100", Address("0.0.0.0", 9100)),  # noqa: S104 - what stands for every interface
        ("127.0.0.1:9100", Address("127.0.0.1", 9100)),
        ("[::1]:9100", Address("::1", 9100)),
    ],
)
def test_an_address_is_a_port_or_a_host_and_a_port(text: str, expected: Address) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["", "0", "65536", "99999999999", "-1", "x", "host:", "host:x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="must be a port from 1 to 65535, or a host and"):
        address(text)


def test_a_worker_answers_while_it_works_and_no_longer(invoke: Invoke) -> None:
    port = free_port()
    seen: list[str] = []

    @workflow("curious")
    def curious(step: Step) -> None:
        step.run("warm up", lambda: None)
        step.run("look", look)

    def look() -> None:
        # A worker may claim before it has left its row.
        wait_until(WorkerProcess.objects.exists, "the row of the worker")
        seen.append(scrape(port))

    make(workflow_name="curious", input={})
    done = invoke("runworker", "--until-idle", "--metrics-port", f"127.0.0.1:{port}")
    assert done.error is None
    samples = parse(seen[0])
    count = "openworkflow_step_duration_seconds_count"
    assert (value(samples, count, workflow="curious", outcome="completed") or 0) >= 1
    assert value(samples, "openworkflow_workers") == 1
    assert value(samples, "openworkflow_worker_slots") == 10
    assert value(samples, "openworkflow_worker_slots_used") == 1
    with pytest.raises(OSError, match="refused"):
        scrape(port)


def test_a_port_that_is_taken_is_one_line(invoke: Invoke) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = invoke("runworker", "--once", "--metrics-port", where)
    assert done.error is not None
    assert done.error.startswith(f"Metrics cannot be served on {where}: ")


def test_each_of_several_processes_has_a_port_of_its_own() -> None:
    port = free_port()
    where = Address("127.0.0.1", port - 1)
    with metrics_served(where, using="default", index=1):
        assert "openworkflow_database_up 1.0" in scrape(port)


def test_a_port_beyond_the_last_is_refused() -> None:
    where = Address("127.0.0.1", 65_535)
    with (
        pytest.raises(CommandError, match="65536"),
        metrics_served(where, using="default", index=1),
    ):
        pass


def test_without_a_port_there_is_no_thread() -> None:
    before = set(threading.enumerate())
    with metrics_served(None, using="default"):
        assert set(threading.enumerate()) <= before
