"""DBOS Transact: durable functions on PostgreSQL, started through one of its queues."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import argparse
import time
from typing import Any

import psycopg
from dbos import DBOS, DBOSConfig

from benchmarks.drivers.driver import log, main

QUEUE = "bench"
# Enqueuing is a statement or more for each run, so a backlog of thousands is made by SQL.
FILL = """
INSERT INTO dbos.workflow_status
    (workflow_uuid, status, name, executor_id, queue_name, inputs, created_at, updated_at,
     priority, application_version)
SELECT 'pending-' || number, 'ENQUEUED', 'three', 'local', 'bench', 'x',
       (extract(epoch FROM now()) * 1000)::bigint, (extract(epoch FROM now()) * 1000)::bigint,
       0, '1'
  FROM generate_series(1, %s) AS number
"""


class DbosPeer:
    """See ``driver.Peer``."""

    def init(self, url: str) -> None:
        self._launch(url, queues=[])
        DBOS.register_queue(QUEUE, polling_interval_sec=1.0, on_conflict="always_update")

    def connect(self, url: str) -> None:
        self.url = url
        self._launch(url, queues=[])

    def work(self, url: str, options: argparse.Namespace) -> None:
        self._launch(url, queues=[QUEUE])
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=options.concurrency,
            polling_interval_sec=options.poll_seconds or 1.0,
            on_conflict="always_update",
        )
        while True:
            time.sleep(1)

    def _launch(self, url: str, queues: list[str]) -> None:
        config = DBOSConfig(
            name="bench",
            system_database_url=url.replace("postgresql://", "postgresql+psycopg://"),
            log_level="ERROR",
            application_version="1",
            enable_otlp=False,
            sys_db_pool_size=20,
        )
        DBOS(config=config)
        self.workflows = {"three": DBOS.workflow(name="three")(three)}
        self.workflows["loop"] = DBOS.workflow(name="loop")(loop)
        DBOS.listen_queues(queues)
        DBOS.launch()

    def start(self, workflow: str, moment: float) -> Any:
        handle = DBOS.enqueue_workflow(QUEUE, self.workflows[workflow], moment)
        return handle.get_workflow_id()

    def start_many(self, workflow: str, size: int) -> list[Any]:
        if size <= 3000:
            return [self.start(workflow, time.time()) for _ in range(size)]
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(FILL, [size])
        return [f"pending-{number}" for number in range(1, size + 1)]

    def cancel(self, handle: Any) -> None:
        DBOS.cancel_workflow(handle)

    def cancel_many(self, handles: list[Any]) -> None:
        DBOS.cancel_workflows(handles)


@DBOS.step()
def first(moment: float) -> dict[str, int]:
    log("S", moment)
    return {"value": 1}


@DBOS.step()
def following(before: dict[str, int]) -> dict[str, int]:
    return {"value": before["value"] + 1}


@DBOS.step()
def fifty_milliseconds(moment: float) -> dict[str, int]:
    log("L", moment)
    time.sleep(0.05)
    log("L", moment)
    return {}


def three(moment: float) -> dict[str, int]:
    result: dict[str, int] = following(following(first(moment)))
    return result


def loop(moment: float) -> dict[str, int]:
    for _ in range(100):
        fifty_milliseconds(moment)
    return {}


if __name__ == "__main__":
    main(DbosPeer())
