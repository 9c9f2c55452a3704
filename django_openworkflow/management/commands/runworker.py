"""``manage.py runworker``: execute workflow runs until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from argparse import ArgumentParser
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from django_openworkflow.management.arguments import names, positive, seconds
from django_openworkflow.registry import registry
from django_openworkflow.worker.worker import Worker, WorkerOptions

if TYPE_CHECKING:
    from types import FrameType


class Command(BaseCommand):
    """Runs a worker. The first SIGTERM or SIGINT drains it, the second ends it at once."""

    help = "Executes workflow runs until SIGTERM or SIGINT: the first drains, the second quits."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--concurrency", type=positive, help="runs executed at a time")
        parser.add_argument("--queues", type=names, help="queues to serve, a,b (default: all)")
        parser.add_argument("--database", help="alias of the database with the workflow tables")
        parser.add_argument(
            "--grace", type=seconds, default=30.0, help="seconds for steps in flight (default: 30)"
        )
        parser.add_argument("--once", action="store_true", help="one round of claims, then exit")
        parser.add_argument(
            "--until-idle", action="store_true", help="exit when nothing is due within a second"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker and report what it did."""
        worker = Worker(self._options(options))
        self._install_handlers(worker)
        if options["verbosity"]:
            self.stdout.write(self._greeting(worker))
        worker.run(until_idle=options["until_idle"], once=options["once"])
        if options["verbosity"]:
            self.stdout.write(f"Worker {worker.name} stopped after {worker.executed} passes.")

    def _options(self, options: dict[str, Any]) -> WorkerOptions:
        chosen = WorkerOptions.from_settings()
        using = options["database"] or chosen.using
        if using not in connections:
            message = f"There is no database {using!r} in DATABASES."
            raise CommandError(message)
        _check_tables(using)
        return replace(
            chosen,
            using=using,
            concurrency=options["concurrency"] or chosen.concurrency,
            queues=options["queues"],
            grace_seconds=options["grace"],
        )

    def _greeting(self, worker: Worker) -> str:
        known = ", ".join(
            name if version is None else f"{name} ({version})"
            for name, version in registry.definitions()
        )
        return (
            f"Worker {worker.name} executes up to {worker.options.concurrency} runs at a time.\n"
            f"Workflows: {known or 'none - is there a workflows.py in an installed app?'}"
        )

    def _install_handlers(self, worker: Worker) -> None:
        """Let the first signal drain and the second end the process, as if it were killed.

        Handlers only set flags: the worker's loop acts on them. Outside of the main thread
        (a test, an autoreloader) there is nothing to install.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        logger = logging.getLogger("django_openworkflow.worker")
        received: list[int] = []

        def handle(number: int, _frame: FrameType | None) -> None:
            if received:
                os._exit(128 + number)
            received.append(number)
            logger.info("%s: draining", signal.Signals(number).name)
            worker.request_stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handle)


def _check_tables(using: str) -> None:
    from django_openworkflow.models import WorkflowRun

    try:
        WorkflowRun.objects.using(using).first()
    except DatabaseError as error:
        message = f'Database "{using}" cannot be used: {error}. Did you run "manage.py migrate"?'
        raise CommandError(message) from error
