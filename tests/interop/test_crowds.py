"""Many clients and workers of both languages at once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from django_openworkflow.models import WorkflowRun
from django_openworkflow.states import TERMINAL
from tests.interop import scripts
from tests.worker.processes import worker_process
from tests.worker.workers import wait_until

if TYPE_CHECKING:
    from tests.interop.node import Node

HALF = 15


def test_thirty_clients_with_one_key_start_one_run(node: Node) -> None:
    together = threading.Barrier(HALF)

    def start(_number: int) -> str:
        try:
            together.wait(10)
            spec = scripts.SPECS["script"].using(idempotency_key="ü:1")
            return str(spec.start(steps=[]).id)
        finally:
            connection.close()

    for _ in range(3):
        WorkflowRun.objects.all().delete()
        request = {"workflow": "script", "input": {"steps": []}, "idempotencyKey": "ü:1"}
        theirs = node.begin("startMany", times=HALF, **request)
        with ThreadPoolExecutor(HALF) as pool:
            ours = list(pool.map(start, range(HALF)))
        run = WorkflowRun.objects.get()
        assert {*ours, *theirs.result(20)} == {str(run.pk)}


def test_their_pages_show_every_run_once(node: Node) -> None:
    spec = scripts.SPECS["script"]
    for _ in range(3):
        spec.start_many([{"steps": []}] * 50)
        node.call("startMany", times=50, workflow="script", input={"steps": []})
    newest_first = [
        str(pk)
        for pk in WorkflowRun.objects.order_by("-created_at", "-pk").values_list("pk", flat=True)
    ]
    seen: list[str] = []
    pages: list[Any] = []
    after: dict[str, str] = {}
    while not pages or after["after"]:
        pages.append(node.call("list", limit=37, **after))
        seen += [run["id"] for run in pages[-1]["data"]]
        after = {"after": pages[-1]["pagination"]["next"]}
    assert seen == newest_first
    assert len(seen) == 300
    back = node.call("list", limit=37, before=pages[-1]["pagination"]["prev"])
    assert back["data"] == pages[-2]["data"]


@pytest.mark.timeout(240)
def test_a_mixed_fleet_executes_each_run_once(node: Node, journal: str) -> None:
    spec, given = scripts.SPECS["script"], {"steps": [["return", "a", 1]], "journal": journal}
    spec.start_many([given] * 200)
    node.call("startMany", times=200, workflow="script", input=given)
    active = WorkflowRun.objects.exclude(status__in=TERMINAL)
    by_python = WorkflowRun.objects.filter(worker_id__contains=":")
    by_node = WorkflowRun.objects.exclude(worker_id=None).exclude(worker_id__contains=":")

    def node_has_begun() -> bool:
        if not active.exists():
            spec.start_many([given] * 20)  # Python was so quick that nothing was left
        return by_node.exists()

    with ExitStack() as stack:
        for _ in range(3):
            options = ("--concurrency", "2", "--verbosity", "0")
            stack.enter_context(worker_process(*options, settings="tests.interop.process.settings"))
        wait_until(by_python.exists, "Python's start", seconds=60)
        node.call("work", concurrency=4)
        wait_until(node_has_begun, "Node's start", seconds=60)
        wait_until(lambda: not active.exists(), "the end of all runs", seconds=120)
        node.call("rest")
    runs = WorkflowRun.objects.count()
    assert runs >= 400
    assert Counter(WorkflowRun.objects.values_list("status", "attempts")) == {
        ("completed", 1): runs
    }
    lines = Path(journal).read_text().splitlines()
    assert Counter(lines).most_common(1)[0][1] == 1
    assert len(lines) == runs
    assert by_python.exists()
    assert by_node.exists()
