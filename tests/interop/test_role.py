"""A role that may use the views and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from django_openworkflow.models import WorkflowRun
from tests.interop.node import Node
from tests.interop.test_views import query

if TYPE_CHECKING:
    from tests.interop.test_runs import Sides, Start

GUEST = f"openworkflow_guest_{os.getpid()}"  # roles belong to the whole server


@pytest.fixture
def guest(views: None, package: None) -> Iterator[str]:
    """A role with nothing but what the command grants."""
    query(f"CREATE ROLE {GUEST} LOGIN")
    call_command("createinteropviews", "--grant-to", GUEST, verbosity=0)
    yield GUEST
    query(f"DROP OWNED BY {GUEST}")
    query(f"DROP ROLE {GUEST}")


def test_a_role_needs_the_views_and_nothing_else(
    guest: str, start: Start, sides: Sides, journal: str
) -> None:
    node = Node("script", "ts-script", PGUSER=guest, PGPASSWORD="")
    try:
        given = {
            "steps": [["return", "a", 1], ["wait", "go"], ["child", "ts-script", {"steps": []}]]
        }
        run_id = node.call("start", workflow="script", input=given, idempotencyKey="k")
        unknown = start("py", "py-script")
        node.call("drain")
        assert node.call("signal", signal="go", data=2, idempotencyKey="k") == [run_id]
        node.call("drain")
        assert node.call("result", id=run_id) == [1, {"data": 2}, []]
        assert unknown.run.attempts == 0, "the guard works for a guest"
        node.call("cancel", id=str(unknown.id))
        assert node.call("counts") == {
            "pending": 0, "running": 0, "completed": 2, "failed": 0, "canceled": 1,
        }  # fmt: skip
    finally:
        node.close()
    query(f"SET ROLE {guest}")
    try:
        for table in ("django_openworkflow_workflowrun", "openworkflow.hidden_workflows"):
            with pytest.raises(Exception, match="permission denied"):
                query(f"TABLE {table}")
        with pytest.raises(Exception, match="permission denied"):
            query("DELETE FROM openworkflow.workflow_runs")
    finally:
        query("RESET ROLE")
    assert WorkflowRun.objects.count() == 3
