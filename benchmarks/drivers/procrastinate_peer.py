"""procrastinate: a job queue. One job does the work of all steps; nothing is saved between."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

import procrastinate

from benchmarks.drivers.driver import log, main

QUEUE = "bench"


class ProcrastinatePeer:
    """See ``driver.Peer``."""

    def init(self, url: str) -> None:
        app = self._app(procrastinate.SyncPsycopgConnector(conninfo=url))
        with app.open():
            app.schema_manager.apply_schema()

    def connect(self, url: str) -> None:
        self.app = self._app(procrastinate.SyncPsycopgConnector(conninfo=url))
        self.app.open()

    def work(self, url: str, options: argparse.Namespace) -> None:
        app = self._app(procrastinate.PsycopgConnector(conninfo=url))

        async def serve() -> None:
            async with app.open_async():
                await app.run_worker_async(
                    queues=[QUEUE], concurrency=options.concurrency, install_signal_handlers=False
                )

        asyncio.run(serve())

    def _app(self, connector: Any) -> Any:
        app = procrastinate.App(connector=connector)
        self.tasks = {"three": app.task(name="three", queue=QUEUE)(three)}
        self.tasks["loop"] = app.task(name="loop", queue=QUEUE, pass_context=True)(loop)
        return app

    def start(self, workflow: str, moment: float) -> Any:
        return self.tasks[workflow].defer(moment=moment)

    def start_many(self, workflow: str, size: int) -> list[Any]:
        jobs = ({"moment": time.time()} for _ in range(size))
        return list(self.tasks[workflow].batch_defer(*jobs))

    def cancel(self, handle: Any) -> None:
        self.app.job_manager.cancel_job_by_id(handle, abort=True)

    def cancel_many(self, handles: list[Any]) -> None:
        for handle in handles:
            self.app.job_manager.cancel_job_by_id(handle)


async def three(moment: float) -> dict[str, int]:
    log("S", moment)
    return {"value": 3}


async def loop(context: Any, moment: float) -> None:
    for _ in range(100):
        if context.should_abort():
            raise procrastinate.exceptions.JobAborted
        log("L", moment)
        await asyncio.sleep(0.05)
        log("L", moment)


if __name__ == "__main__":
    main(ProcrastinatePeer())
