"""The npm package and this package on the same tables, on a real PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now

from django_openworkflow import RunHandle
from django_openworkflow.identifiers import new_id
from django_openworkflow.models import WorkflowRun
from django_openworkflow.registry import registry
from django_openworkflow.store.workers import WorkerRecord
from django_openworkflow.testing import reset_clock, run_until_idle
from tests.interop import scripts
from tests.interop.node import Node, missing

REQUIRED = os.environ.get("OPENWORKFLOW_INTEROP") == "required"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where the two cannot meet; say so at the end, if it is not the database's fault."""
    for item in items:
        if Path(__file__).parent in item.path.parents and connection.vendor != "postgresql":
            item.add_marker(pytest.mark.skip(reason="the package shares PostgreSQL alone"))


@pytest.fixture(scope="session")
def package() -> None:
    """The installed npm package."""
    if (problem := missing()) is not None:
        if REQUIRED:
            pytest.fail(f"interop tests are required, but {problem}")
        pytest.skip(f"INTEROP NOT TESTED: {problem}")


@pytest.fixture(scope="module")
def views(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The views, taken away after the module: other tests expect to be alone."""
    with django_db_blocker.unblock():
        call_command("createinteropviews", verbosity=0)
    yield
    with django_db_blocker.unblock():
        call_command("createinteropviews", "--drop", verbosity=0)
        connection.close()


@pytest.fixture(scope="module")
def node(package: None, views: None) -> Iterator[Node]:
    """A process whose workers know all scripts but "py-script"."""
    process = Node("script", "script@2", "ts-script", "together")
    yield process
    process.close()


@pytest.fixture(autouse=True)
def _python_worker_is_alive(transactional_db: None) -> Iterator[None]:
    """Python's definitions, and a row that says that somebody executes them."""
    with registry.isolated():
        scripts.register()
        WorkerRecord(
            id=new_id(),
            name="python",
            concurrency=1,
            queues=None,
            workflows=registry.claimable(),
            using="default",
        ).beat()
        yield
    reset_clock()


@pytest.fixture
def journal(tmp_path: Path) -> str:
    """The file in which bodies of either side note that they were called."""
    path = tmp_path / "journal"
    path.touch()
    return str(path)


@pytest.fixture
def start(node: Node, journal: str) -> Callable[..., RunHandle[Any]]:
    """Start a script from one side; returns its handle."""

    def begin(side: str, workflow: str, *steps: Any, **options: Any) -> RunHandle[Any]:
        given = {"steps": list(steps), "journal": journal}
        if side == "py":
            return scripts.SPECS[workflow].using(**options).start(**given)
        spec = scripts.SPECS[workflow]
        version = {} if spec.version is None else {"version": spec.version}
        run_id = node.call("start", workflow=spec.name, input=given, **version, **options)
        return RunHandle.get(run_id)

    return begin


@pytest.fixture
def sides(node: Node) -> dict[str, Callable[[], object]]:
    """Let one side execute all that is due."""
    return {"py": run_until_idle, "ts": lambda: node.call("drain")}


def make_due(handle: RunHandle[Any]) -> None:
    """Let a lease, a sleep or a back-off be over now, instead of much later."""
    WorkflowRun.objects.filter(pk=handle.id).update(available_at=Now())


def days_to_wait(handle: RunHandle[Any]) -> int:
    """Return how long a parked run waits at the most."""
    run = handle.run
    assert run.available_at
    return (run.available_at - run.created_at).days


def rows(handle: RunHandle[Any]) -> list[tuple[str, str, str]]:
    """Return name, kind and status of a run's step attempts, oldest first."""
    attempts = handle.run.step_attempts.order_by("created_at", "pk")
    return list(attempts.values_list("step_name", "kind", "status"))
